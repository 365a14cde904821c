"""Declarative training for Theano."""

__version__ = "0.1.0"
