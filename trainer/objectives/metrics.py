"""Metrics, each as a sum over examples and what is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from trainer.objectives.base import Metric, Total, total_of


def answers(logits: Any) -> Any:
    """Return the class of the largest logit, the first of equals, along the last axis."""
    return tensor.argmax(logits, axis=-1)


def among_largest(logits: Any, classes: Any, k: int) -> Any:
    """Return whether the logit of the right class is among the k largest of its row; the first of equals win.

    Parameters
    ----------
    logits : symbolic matrix, (rows, classes)
        A row with a NaN counts as wrong wherever the comparison with it decides.
    classes : symbolic vector of int, (rows,)
        The right ones.
    k : int
        From 1 to the number of classes.
    """
    right = logits[tensor.arange(classes.shape[0]), classes].dimshuffle(0, "x")
    later = tensor.arange(logits.shape[1]).dimshuffle("x", 0) > classes.dimshuffle(0, "x")
    # What is beaten is counted, not what wins: a comparison with NaN then speaks against the network.
    beaten = tensor.lt(logits, right) | (tensor.eq(logits, right) & later)
    return tensor.ge(tensor.sum(beaten, axis=1), logits.shape[1] - k)


def confusion_matrix(answered: Any, classes: Any, count: int) -> Metric:
    """Make the metric that counts, for each true class (row), how often each class was answered (column).

    Parameters
    ----------
    answered, classes : symbolic vectors of int, (examples,)
        Answers and right classes.
    count : int
        How many classes there are.
    """
    numbers = tensor.arange(count).dimshuffle("x", 0)
    given, true = (
        tensor.cast(tensor.eq(vector.dimshuffle(0, "x"), numbers), "float32")
        for vector in (answered, classes)
    )
    return Metric(tensor.dot(true.T, given), lambda total, _: np.rint(total).astype(np.int64))


def perplexity(losses: Any) -> Metric:
    """Make the metric exp(mean loss), of a symbolic vector of losses in nats."""
    return Metric(total_of(losses), _exponential_of_mean)


def _exponential_of_mean(total: Total, examples: int) -> Any:
    with np.errstate(over="ignore"):
        return np.exp(total / examples)


def regression_metrics(outputs: Any, targets: Any) -> dict[str, Metric]:
    """Return `mae`, `rmse` and `r2`: each is found for each output, and the mean over the outputs taken.

    With the error e = y − t and means over all examples:

        mae = mean |e|        rmse = √(mean e²)        r2 = 1 − Σ e² / Σ (t − mean t)²

    As in scikit-learn, R² of targets that do not vary is 1 where there is no error, else 0.

    Parameters
    ----------
    outputs, targets : symbolic matrices, (examples, outputs)
        Predicted and true values.
    """
    error = outputs - targets
    exact = tensor.cast(targets, "float64")  # float32 squares would leave too few digits of their difference
    absolute = total_of(abs(error), axis=0)
    squares = total_of(tensor.sqr(error), axis=0)
    spread = [tensor.sum(exact, axis=0), tensor.sum(tensor.sqr(exact), axis=0)]
    return {
        "mae": Metric(absolute, lambda total, examples: np.mean(total / examples)),
        "rmse": Metric(squares, lambda total, examples: np.mean(np.sqrt(total / examples))),
        "r2": Metric(tensor.stack([squares, *spread]), _coefficient_of_determination),
    }


def deviations(outputs: Any, targets: Any) -> dict[str, Metric]:
    """Return `mae` and `rmse` of all values alike: mean |y − t|, and √(mean (y − t)²).

    Parameters
    ----------
    outputs, targets : symbolic matrices, (examples, values)
        What is compared.
    """
    error = outputs - targets
    squares = total_of(tensor.mean(tensor.sqr(error), axis=1))
    return {
        "mae": Metric.of_examples(tensor.mean(abs(error), axis=1)),
        "rmse": Metric(squares, lambda total, examples: np.sqrt(total / examples)),
    }


def _coefficient_of_determination(total: Total, examples: int) -> Any:
    errors, sums, squares = total
    spread: NDArray[np.float64] = squares - sums**2 / examples
    varies = spread > 1e-12 * squares  # below, it is the rounding of the sums
    explained = 1 - errors / np.where(varies, spread, 1)
    return np.mean(np.where(varies, explained, np.where(errors == 0, 1.0, 0.0)))
