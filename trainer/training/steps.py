"""The compiled functions of a run: the training step and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer.objectives import Metric

Array = NDArray[Any]
TrainingStep = Callable[[Array, Array], Array]


def compile_training_step(
    inputs: Any, targets: Any, loss: Any, updates: Mapping[Any, Any], mode: Any = None
) -> TrainingStep:
    """Compile one update.

    Parameters
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    loss : symbolic scalar
        What the step returns.
    updates : mapping
        Each shared variable to its new value.
    mode : Theano mode, optional
        Theano's default mode where omitted.

    Returns
    -------
    callable
        From the arrays of a batch, of exactly the variables' dtypes, to its loss before the update.
    """
    function = theano.function(
        [inputs, targets], loss, updates=list(updates.items()), mode=mode, on_unused_input="ignore"
    )
    # Batches come from trainer.data alone, in the right dtype: checking each again costs a small step 5 %.
    function.trust_input = True
    return function  # type: ignore[no-any-return]


class Evaluation:
    """Loss and metrics over a part of the data, each example counted once.

    Parameters
    ----------
    metrics : mapping
        The metrics by name.
    function : callable
        From a batch's arrays to each metric's sum over the batch, in their order.
    """

    def __init__(self, metrics: Mapping[str, Metric], function: Callable[..., Sequence[Any]]) -> None:
        self.metrics = metrics
        self.function = function

    def __call__(self, batches: Iterable[tuple[Array, Array]]) -> dict[str, Any]:
        """Return each metric over all examples of the batches: a float, or an array."""
        totals: list[Any] = [0.0] * len(self.metrics)
        examples = 0
        for inputs, targets in batches:
            sums = self.function(inputs, targets)
            totals = [total + np.asarray(batch, "float64") for total, batch in zip(totals, sums, strict=True)]
            examples += len(inputs)
        finished = [
            metric.finish(total, examples)
            for metric, total in zip(self.metrics.values(), totals, strict=True)
        ]
        return {
            name: float(value) if np.ndim(value) == 0 else value
            for name, value in zip(self.metrics, finished, strict=True)
        }


def compile_evaluation(
    inputs: Any, targets: Any, metrics: Mapping[str, Metric], updates: Mapping[Any, Any] | None = None
) -> Evaluation:
    """Compile the evaluation of metrics.

    Parameters
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    metrics : mapping
        By name, in the order of the results.
    updates : mapping, optional
        Each carried state to its value after a batch.
    """
    sums = [metric.total for metric in metrics.values()]
    function = theano.function(
        [inputs, targets], sums, updates=list((updates or {}).items()), on_unused_input="ignore"
    )
    function.trust_input = True
    return Evaluation(metrics, function)
