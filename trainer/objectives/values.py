"""Squared, absolute and Huber error, for targets that are values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from theano import tensor

from trainer.data import Data
from trainer.errors import UsageError
from trainer.objectives import elementwise
from trainer.objectives.base import Metric, Objective, Predict
from trainer.objectives.metrics import regression_metrics
from trainer.objectives.shapes import like, mean_of_examples
from trainer.objectives.targets import refuse_kinds, refuse_values, target_type
from trainer.ranges import refuse_out_of_range

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_WHOLE = 2**31 - 1  # batches hold whole numbers as int32


class Regression(Objective):
    """A loss of the differences between outputs and targets.

    Parameters
    ----------
    name : str
        The objective's, for messages.
    loss : callable
        From outputs and targets, symbolic matrices (examples, outputs), to the losses of the single numbers.
    """

    def __init__(self, name: str, loss: Callable[[Any, Any], Any]) -> None:
        self.name = name
        self._loss = loss
        self._target_type: Any = tensor.vector

    def check(self, data: Data) -> None:
        """Refuse data whose targets are no finite numbers.

        Raises
        ------
        UsageError
            For classes, targets of another shape than (examples,) or (examples, values), and a value that is
            not finite, with its part and place.
        """
        if data.classes is not None:
            raise UsageError(
                f"objective={self.name} needs values as targets, but {data.name} has {data.classes} classes: "
                "choose objective=cross_entropy"
            )
        refuse_kinds(
            data,
            self.name,
            lambda values: values.dtype.kind in "iuf" and len(values.shape) in (1, 2),
            "one value as the target of an example, or a row of them",
        )
        refuse_values(data, lambda values: ~np.isfinite(values), "a target is a finite number")
        refuse_values(
            data,
            lambda values: (values.dtype.kind != "f") & (abs(values.astype(float)) > LARGEST_WHOLE),
            f"a whole number goes to {LARGEST_WHOLE:,}: give larger ones as floats",
        )
        self._target_type = target_type(data)

    def outputs(self, data: Data) -> int:
        """Return how many values the target of an example has."""
        return math.prod(data.train.targets.shape[1:])

    def target_variable(self) -> Any:
        """Make a symbolic batch of values: (examples,) or (examples, values)."""
        return self._target_type("targets")

    def losses(self, output: Any, targets: Any) -> Any:
        """Return the mean over the values of an example."""
        return mean_of_examples(self._loss(output, like(targets, output)))

    def metrics(self, output: Any, targets: Any) -> dict[str, Metric]:
        """Return `mae`, `rmse` and `r2` (`squared_error`)."""
        return regression_metrics(output, like(targets, output))

    def pictures(self, metrics: Mapping[str, Any], data: Data, predict: Predict) -> dict[str, Figure]:
        """Return `predictions`: predicted over true values, of up to 2,000 examples and six outputs."""
        from trainer.objectives.pictures import predictions_picture

        return {"predictions": predictions_picture(data, predict)}


def squared_error() -> Regression:
    """Give the objective of the least squares.

    For an output y (examples, values) and the target t, (examples,) or (examples, values), the loss of an
    example is the mean over its values of

        loss = (y − t)²

    in the square of the targets' unit. Losses keep the outputs' dtype.

    Returns
    -------
    Regression
        Metrics, each the mean over the values of what it is for one of them, over all examples:
        `mae` = mean |y − t| and `rmse` = √(mean (y − t)²), in the targets' unit, and the coefficient of
        determination `r2` = 1 − Σ (y − t)² / Σ (t − mean t)², 1 for a perfect network, 0 for one that always
        answers the mean, below 0 for a worse one. The definitions are those of scikit-learn.
    """
    return Regression("squared_error", elementwise.squared)


def absolute_error() -> Regression:
    """Give the objective of the least absolute deviations, whose best constant answer is the median.

    For an output y (examples, values) and the target t, (examples,) or (examples, values), the loss of an
    example is the mean over its values of

        loss = |y − t|

    in the targets' unit; its gradient is ±1, and 0 where y = t. Losses keep the outputs' dtype.

    Returns
    -------
    Regression
        Metrics: those of `squared_error`.
    """
    return Regression("absolute_error", elementwise.absolute)


def huber(delta: float = 1.0) -> Regression:
    """Give the objective of the Huber loss: squared for small errors, absolute for large ones.

    For an output y (examples, values) and the target t, (examples,) or (examples, values), the loss of an
    example is the mean over its values of

        loss = ½ (y − t)²              where |y − t| ≤ δ
               δ · (|y − t| − ½ δ)     elsewhere

    so no error has a gradient beyond ±δ. Losses keep the outputs' dtype.

    Parameters
    ----------
    delta : float, default 1
        The error δ from which the loss grows linearly, above 0, in the targets' unit.

    Returns
    -------
    Regression
        Metrics: those of `squared_error`.

    Raises
    ------
    UsageError
        For a `delta` that is not above 0.

    Notes
    -----
    Huber 1964, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 73–101.
    """
    refuse_out_of_range({"delta": delta}, "objective")
    return Regression("huber", partial(elementwise.huber, delta=delta))
