"""Loss and metrics of the parts of the data, by the weights as they are evaluated and by their averages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data import Data, Part
from trainer.errors import UsageError, nearest
from trainer.models import Network
from trainer.optimizer import Optimizer
from trainer.training import Evaluation, StopSignals, standing_in
from trainer.training.weights import AVERAGED

log = logging.getLogger(__name__)


class Measuring:
    """Evaluates a network in training.

    Parameters
    ----------
    evaluation : Evaluation
        The compiled metrics.
    data : Data
        The parts.
    network : Network
        What is evaluated.
    optimizer : Optimizer
        Says which variables stand in for parameters in evaluations, and which are averages of them.
    batch_size : int
        Examples at a time.
    precision : str
        The dtype of inputs.
    signals : StopSignals, optional
        A signal ends an evaluation by `Interrupted`, between two batches.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        data: Data,
        network: Network,
        optimizer: Optimizer,
        batch_size: int,
        precision: str,
        signals: StopSignals | None = None,
    ) -> None:
        self._evaluation = evaluation
        self._data = data
        self._network = network
        self._optimizer = optimizer
        self._batch_size = batch_size
        self._precision = precision
        self._signals = signals or StopSignals()

    def validation(self) -> dict[str, float]:
        """Return the validation part's numbers: `validation/loss`, and `validation/averaged/loss`."""
        part = self._data.validation
        with standing_in(self._optimizer.evaluated):
            measured = self.of(part)
        if self._optimizer.averages:
            with standing_in(self._optimizer.averages):
                measured.update({f"{AVERAGED}/{name}": value for name, value in self.of(part).items()})
        return {f"validation/{name}": value for name, value in measured.items() if isinstance(value, float)}

    def of(self, part: Part) -> dict[str, Any]:
        """Return loss and metrics of a part, by the weights that the network has; nothing of an empty one."""
        if not len(part):
            return {}
        self._network.reset_states(self._batch_size, training=False)
        batches = part.batches(self._batch_size, dtype=self._precision).epoch(0)
        return self._evaluation(self._signals.until_one_comes(batches))


def measured_names(metrics: Mapping[str, Any], averages: Mapping[Any, Any]) -> list[str]:
    """Return the names of what an epoch's record measures."""
    names = [*metrics, *(f"{AVERAGED}/{name}" for name in metrics if averages)]
    return ["train/loss", *(f"validation/{name}" for name in names)]


def monitored(monitor: str, mode: str, measured: Sequence[str], has_validation: bool) -> tuple[str, str]:
    """Return the metric whose best epoch counts, and whether the best is its `min` or its `max`.

    Where there is no validation part, that is the smallest `train/loss`.

    Raises
    ------
    UsageError
        Where the run does not measure what is to be monitored.
    """
    if monitor not in measured:
        raise UsageError(f"training.monitor={monitor} is not measured: {nearest(monitor, measured)}")
    if monitor.startswith("validation/") and not has_validation:
        log.warning("there is no validation part: the best epoch is that of the smallest train/loss")
        return "train/loss", "min"
    return monitor, mode
