"""Whole works timed beside PyTorch and JAX: the program of scripts/benchmark, which is no test."""
