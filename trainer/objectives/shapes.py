"""Outputs and targets brought into one form: a row for each example."""

from __future__ import annotations

from typing import Any

import numpy as np
from theano import tensor


def rows(values: Any) -> Any:
    """Return a batch as a matrix with a row for each example; a vector becomes a column."""
    if values.ndim == 2:
        return values
    return values.dimshuffle(0, "x") if values.ndim == 1 else values.flatten(2)


def like(targets: Any, output: Any) -> Any:
    """Return targets as a matrix of the output's dtype, so that a loss keeps it."""
    return tensor.cast(rows(targets), output.dtype)


def mean_of_examples(losses: Any) -> Any:
    """Return the mean of each row: the losses of examples."""
    return tensor.mean(losses, axis=1)


def number(value: float, output: Any) -> Any:
    """Return a constant of the output's dtype; Theano would give a Python number that of floatX."""
    return tensor.constant(np.asarray(value, output.dtype))
