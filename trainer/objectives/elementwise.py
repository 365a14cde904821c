"""Losses of single numbers: from outputs and targets of one shape to losses of that shape."""

from __future__ import annotations

from typing import Any

from theano import tensor

from trainer.objectives.shapes import number


def squared(outputs: Any, targets: Any) -> Any:
    """Return (y − t)²."""
    return tensor.sqr(outputs - targets)


def absolute(outputs: Any, targets: Any) -> Any:
    """Return |y − t|; its gradient at 0 is 0."""
    return abs(outputs - targets)


def huber(outputs: Any, targets: Any, delta: float) -> Any:
    """Return ½ e² where |e| ≤ δ, else δ (|e| − ½ δ), for e = y − t."""
    error = abs(outputs - targets)
    # In one formula without a branch, so that no huge error is squared: q (|e| − ½ q) with q = min(|e|, δ).
    near = tensor.minimum(error, number(delta, outputs))
    return near * (error - near / 2)


def binary_cross_entropy(logits: Any, targets: Any, positive_weight: Any = None) -> Any:
    """Return −w t log σ(z) − (1 − t) log(1 − σ(z)), for logits z and targets t from 0 to 1.

    It is computed as w t softplus(−z) + (1 − t) softplus(z): nothing overflows, and a small loss keeps its
    digits.
    """
    positive = targets * tensor.nnet.softplus(-logits)
    if positive_weight is not None:
        positive = positive_weight * positive
    return positive + (1 - targets) * tensor.nnet.softplus(logits)
