"""The compiled functions of a run: the training step and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor

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
        The mean loss of the batch.
    updates : mapping
        Each shared variable to its new value.
    mode : Theano mode, optional
        Theano's default mode where omitted.

    Returns
    -------
    callable
        From the arrays of a batch, of exactly the variables' dtypes, to its loss before the update.
    """
    function = theano.function([inputs, targets], loss, updates=list(updates.items()), mode=mode)
    # Batches come from trainer.data alone, in the right dtype: checking each again costs a small step 5 %.
    function.trust_input = True
    return function  # type: ignore[no-any-return]


class Evaluation:
    """Mean loss and metrics over a part of the data, each example counted once.

    Parameters
    ----------
    names : sequence of str
        The metrics; the first is the loss.
    function : callable
        From a batch's arrays to one sum over its examples for each name.
    """

    def __init__(self, names: Sequence[str], function: Callable[..., Sequence[Any]]) -> None:
        self.names = names
        self.function = function

    def __call__(self, batches: Iterable[tuple[Array, Array]]) -> dict[str, float]:
        """Return each metric's mean over all examples of the batches."""
        sums = np.zeros(len(self.names))
        examples = 0
        for inputs, targets in batches:
            sums += [float(value) for value in self.function(inputs, targets)]
            examples += len(inputs)
        return {name: float(total) / examples for name, total in zip(self.names, sums, strict=True)}


def compile_evaluation(inputs: Any, targets: Any, losses: Any, metrics: Mapping[str, Any]) -> Evaluation:
    """Compile the evaluation of the per-example `losses` and `metrics`, each a symbolic vector."""
    names = ["loss", *metrics]
    # Sums in float64, so that a metric does not depend on how many examples are evaluated at a time.
    sums = [tensor.sum(vector, dtype="float64") for vector in (losses, *metrics.values())]
    function = theano.function([inputs, targets], sums)
    function.trust_input = True
    return Evaluation(names, function)
