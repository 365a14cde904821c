"""The schedule that follows a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from trainer.errors import UsageError, nearest

from ._common import Schedule, check_choice, check_finite, check_not_negative, check_positive


def plateau(
    initial: float,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["relative", "absolute"] = "relative",
    cooldown: int = 0,
    minimum: float = 0.0,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
) -> Schedule:
    """Multiply the value by a factor each time a metric stops improving.

    After n reductions the value is ``max(initial * factor ** n, minimum)``. At each epoch's end the metric is
    compared with the best so far. It improves where it is below ``best * (1 - threshold)``, for the mode
    `max` above ``best * (1 + threshold)``; with the threshold mode `absolute`, below ``best - threshold`` or
    above ``best + threshold``. After `patience` epochs in a row without an improvement the value is reduced;
    the `cooldown` epochs that follow are not counted.

    It is no function of time: its state is saved with the run's. PyTorch counts one epoch more before it
    reduces; its patience of p is ``patience = p + 1`` here.

    Parameters
    ----------
    initial : float
        The value until the first reduction.
    factor : float, default 0.1
        What the value is multiplied by at each reduction, above 0 and below 1.
    patience : int, default 10
        Epochs without an improvement, at least 1, after which the value is reduced.
    threshold : float, default 1e-4
        How much better than the best a metric must be, at least 0.
    threshold_mode : {'relative', 'absolute'}
        Whether the threshold is a part of the best value, or in the metric's own unit.
    cooldown : int, default 0
        Epochs after a reduction that are not counted, at least 0.
    minimum : float, default 0.0
        The value that is never gone below; where `initial` is smaller, the value stays `initial`.
    metric : str, optional
        What is followed, as ``validation/accuracy``; the run's monitored metric where omitted.
    mode : {'min', 'max'}, optional
        Whether a smaller or a larger metric is better. Needed with a `metric`; that of the monitored one
        where omitted.

    Returns
    -------
    Schedule
        Gives the value; `observe` takes the record of an epoch.

    Raises
    ------
    ValueError
        Where an argument is out of its range, or there is a `metric` without a `mode`.
    UsageError
        At the first epoch's end, where there is no such metric.

    Examples
    --------
    >>> value = plateau(1.0, factor=0.5, patience=2)
    >>> for loss in (1.0, 0.9, 0.95, 0.93):
    ...     value.observe({"validation/loss": loss}, "validation/loss", "min")
    ...     value(0)
    1.0
    1.0
    1.0
    0.5
    """
    check_positive(factor=factor, patience=patience)
    if not factor < 1:
        raise ValueError(f"factor must be below 1; it is {factor}")
    check_not_negative(threshold=threshold, cooldown=cooldown)
    check_finite(minimum=minimum)
    check_choice("threshold_mode", threshold_mode, ("relative", "absolute"))
    if mode is not None:
        check_choice("mode", mode, ("min", "max"))
    if metric is not None and mode is None:
        raise ValueError(
            f"mode is missing for metric={metric}: give min where smaller is better, max otherwise"
        )
    margin = (threshold, threshold_mode)
    return _Plateau(initial, factor, patience, margin, cooldown, minimum, metric, mode)


class _Plateau:
    def __init__(
        self,
        initial: float,
        factor: float,
        patience: int,
        margin: tuple[float, str],
        cooldown: int,
        minimum: float,
        metric: str | None,
        mode: str | None,
    ) -> None:
        self.initial, self.factor, self.minimum = initial, factor, min(minimum, initial)
        self.patience, self.margin, self.cooldown = patience, margin, cooldown
        self.metric, self.mode = metric, mode
        self.best: float | None = None
        self.reductions, self.waited, self.cooling = 0, 0, 0
        self.value = initial

    @property
    def metrics(self) -> tuple[str, ...]:
        return () if self.metric is None else (self.metric,)

    def __call__(self, time: float) -> float:
        return self.value

    def observe(self, record: Mapping[str, Any], monitor: str, mode: str) -> None:
        name = self.metric or monitor
        if name not in record:
            measured = [known for known in record if known.startswith(("train/", "validation/"))]
            raise UsageError(f"metric={name} of a plateau is not measured: {nearest(name, measured)}")
        if self._improves(record[name], self.mode or mode):
            self.best, self.waited = float(record[name]), 0
        else:
            self.waited += 1
        if self.cooling:
            self.cooling -= 1
            self.waited = 0
        if self.waited >= self.patience:
            self.reductions += 1
            self.waited, self.cooling = 0, self.cooldown
            self._follow()

    def state(self) -> dict[str, float | None]:
        return {
            "best": self.best,
            "reductions": self.reductions,
            "waited": self.waited,
            "cooling": self.cooling,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best = None if state["best"] is None else float(state["best"])
        self.reductions, self.waited = int(state["reductions"]), int(state["waited"])
        self.cooling = int(state["cooling"])
        self._follow()

    def _follow(self) -> None:
        reduced = self.initial * self.factor**self.reductions
        self.value = max(reduced, self.minimum) if self.reductions else self.initial

    def _improves(self, value: float | None, mode: str) -> bool:
        if value is None or not math.isfinite(value):
            return False
        if self.best is None:
            return True
        threshold, kind = self.margin
        needed = threshold * (self.best if kind == "relative" else 1.0)
        return value > self.best + needed if mode == "max" else value < self.best - needed
