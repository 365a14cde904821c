"""The compiled functions of a run: the training step and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer.kernels.finite import NonFinite, hold
from trainer.objectives import Metric
from trainer.training.accumulation import Accumulation

Array = NDArray[Any]


class TrainingStep:
    """One update, called with the arrays of a batch, of exactly the graph's dtypes.

    Attributes
    ----------
    functions : list
        What was compiled for it.
    """

    def __init__(self, function: Any) -> None:
        self.functions = [function]
        self._update = function

    def __call__(self, inputs: Array, targets: Array) -> tuple[Any, Any]:
        """Update, and return the loss and the total norm of the gradients before that.

        Raises
        ------
        NonFinite
            Where one of both is not finite; every shared variable is what it was then.
        """
        try:
            loss, norm = self._update(inputs, targets)
        except NonFinite as error:
            raise error.recovered() from None
        return loss, norm

    def gather(self, inputs: Array, targets: Array) -> None:
        """Take a batch that is not the last one of its update."""
        raise TypeError("this step updates at each batch; compile it with what is to be gathered")

    def forget(self) -> None:
        """Let go of batches that were gathered for an update that never came."""


class AccumulatedStep(TrainingStep):
    """One update of several batches: `gather` takes all but the last, the call takes the last and updates.

    Parameters
    ----------
    function, gather : compiled functions
        Of the last batch, and of the others.
    accumulation : Accumulation
        The sums over the batches of an update.

    Notes
    -----
    What `gather` writes besides the sums (running statistics, random streams, carried states) is kept as it
    was before the first batch of an update, since an update that is given up gives up all of its batches.
    """

    def __init__(self, function: Any, gather: Any, accumulation: Accumulation) -> None:
        super().__init__(function)
        self.functions.append(gather)
        self._gather = gather
        self._begun = accumulation.begun
        written = (each.variable for each in gather.maker.inputs if each.implicit and each.update is not None)
        self._buffers = [variable for variable in written if variable not in accumulation.updates]
        self._before: list[Any] | None = None
        self.forget()

    def forget(self) -> None:
        """Let go of batches that were gathered for an update that never came."""
        self._before = None
        self._begun.set_value(np.int8(0))

    def __call__(self, inputs: Array, targets: Array) -> tuple[Any, Any]:
        """Update by all batches since the last call, and return their mean loss and its gradients' norm.

        Raises
        ------
        NonFinite
            Where one of both is not finite; every shared variable is what it was before the first batch.
        """
        try:
            return super().__call__(inputs, targets)
        except NonFinite:
            for variable, value in zip(self._buffers, self._before or (), strict=False):
                variable.set_value(value, borrow=True)
            raise
        finally:
            self.forget()

    def gather(self, inputs: Array, targets: Array) -> None:
        """Take a batch that is not the last one of its update."""
        begins = self._before is None
        if begins:
            self._before = [variable.get_value() for variable in self._buffers]
        self._gather(inputs, targets)
        if begins:
            self._begun.set_value(np.int8(1))


def compile_training_step(
    inputs: Any,
    targets: Any,
    loss: Any,
    norm: Any,
    updates: Mapping[Any, Any],
    *,
    accumulation: Accumulation | None = None,
    buffers: Mapping[Any, Any] | None = None,
    givens: Mapping[Any, Any] | None = None,
    mode: Any = None,
) -> TrainingStep:
    """Compile one update.

    Parameters
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    loss : symbolic scalar
        What the step returns.
    norm : symbolic scalar
        The total norm that `trainer.kernels.finite.check_finite` gave.
    updates : mapping
        Each shared variable to its new value, `buffers` included. None of them is written where the check
        raises, be it that Theano computes their new values in place.
    accumulation : Accumulation, optional
        Where several batches make an update: what gave `loss` and the gradients.
    buffers : mapping, optional
        With it: what each batch updates, and not the last one of an update alone.
    givens : mapping, optional
        Variables of the expressions to what is computed in their place.
    mode : Theano mode, optional
        Theano's default mode where omitted.

    Returns
    -------
    TrainingStep
        From the arrays of a batch to its loss and norm, before the update.
    """

    def compiled(outputs: Any, changes: Mapping[Any, Any]) -> Any:
        function = theano.function(
            [inputs, targets],
            outputs,
            updates=list(changes.items()),
            givens=list((givens or {}).items()),
            mode=mode,
            on_unused_input="ignore",
        )
        # Batches come from trainer.data alone, in the right dtype: checking each costs a small step 5 %.
        function.trust_input = True
        return function

    update = compiled([loss, hold(norm, _written([loss, norm], updates))], updates)
    if accumulation is None:
        return TrainingStep(update)
    return AccumulatedStep(update, compiled([], {**accumulation.updates, **(buffers or {})}), accumulation)


def _written(outputs: Sequence[Any], updates: Mapping[Any, Any]) -> list[Any]:
    """Give all that a function of these writes: random streams have an update of their own."""
    written = list(updates)
    known, expressions = set(written), [*outputs, *updates.values()]
    while expressions:
        leaves = theano.gof.graph.inputs(expressions)
        found = [leaf for leaf in leaves if getattr(leaf, "default_update", None) is not None]
        expressions = [leaf.default_update for leaf in found if leaf not in known]
        written += [leaf for leaf in found if leaf not in known]
        known.update(found)
    return written


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
