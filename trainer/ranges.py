"""The values that a number may take, by its name, which means the same wherever it stands."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.errors import UsageError


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`; an open end is left out, and infinities always are."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        # Whole numbers may be too large for a float.
        return above and below and abs(value) <= sys.float_info.max

    def __str__(self) -> str:
        low = f"{'above' if self.low_open else 'at least'} {self.low:g}" if math.isfinite(self.low) else ""
        high = f"{'below' if self.high_open else 'at most'} {self.high:g}" if math.isfinite(self.high) else ""
        bounds = " and ".join(part for part in (low, high) if part)
        if not bounds:
            return "a finite number"
        return f"a number of {bounds}" if bounds.startswith("at") else f"a number {bounds}"


ANY = Interval()
COUNT = Interval(1)
NOT_NEGATIVE = Interval(0)
POSITIVE = Interval(0, low_open=True)
FRACTION = Interval(0, 1, high_open=True)
UNIT = Interval(0, 1, low_open=True)

RANGES: Mapping[str, Interval] = {
    # update rules, wrappers, clipping, constraints
    "learning_rate": NOT_NEGATIVE,
    "momentum": FRACTION,
    "rho": FRACTION,
    "beta1": FRACTION,
    "beta2": FRACTION,
    "beta3": FRACTION,
    "momentum_decay": NOT_NEGATIVE,
    "increase": Interval(1),
    "decrease": Interval(0, 1, low_open=True, high_open=True),
    "min_factor": POSITIVE,
    "max_factor": POSITIVE,
    "backtracking": Interval(0, 1),
    "epsilon": POSITIVE,
    "max_norm": POSITIVE,
    "max_ratio": POSITIVE,
    "k": COUNT,
    "alpha": UNIT,
    "eta": NOT_NEGATIVE,
    "gamma": NOT_NEGATIVE,
    "radius": NOT_NEGATIVE,
    "decay": FRACTION,
    "start": FRACTION,
    "weight_decay": NOT_NEGATIVE,
    "adamw_learning_rate": NOT_NEGATIVE,
    "iterations": COUNT,
    "trust_coefficient": POSITIVE,
    "warmup_steps": NOT_NEGATIVE,
    "decay_exponent": POSITIVE,
    "min_rms": POSITIVE,
    "max_rms": POSITIVE,
    "d0": POSITIVE,
    "max_value": POSITIVE,
    # schedules
    "duration": POSITIVE,
    "every": POSITIVE,
    "factor": POSITIVE,
    "power": POSITIVE,
    "decay_rate": NOT_NEGATIVE,
    "timescale": POSITIVE,
    "milestones": NOT_NEGATIVE,
    "times": NOT_NEGATIVE,
    "period": POSITIVE,
    "growth": COUNT,
    "ratio": NOT_NEGATIVE,
    "start_ratio": NOT_NEGATIVE,
    "peak_ratio": NOT_NEGATIVE,
    "final_ratio": NOT_NEGATIVE,
    "up": POSITIVE,
    "down": POSITIVE,
    "rise": Interval(0, 1, low_open=True, high_open=True),
    "threshold": NOT_NEGATIVE,
    "cooldown": NOT_NEGATIVE,
    "warmup": NOT_NEGATIVE,
    "warmup_start": NOT_NEGATIVE,
    # networks
    "hidden": COUNT,
    "units": COUNT,
    "dropout": FRACTION,
    "input_dropout": FRACTION,
    "rate": FRACTION,
    "filters": COUNT,
    "kernel": COUNT,
    "stride": COUNT,
    "dilation": COUNT,
    "groups": COUNT,
    "pool": COUNT,
    "blocks": COUNT,
    "code": COUNT,
    "l1": NOT_NEGATIVE,
    "l2": NOT_NEGATIVE,
    # objectives
    "label_smoothing": FRACTION,
    "positive_weight": POSITIVE,
    "delta": POSITIVE,
    "top_k": COUNT,
    # data
    "length": COUNT,
    "pixels": NOT_NEGATIVE,
    "deviation": NOT_NEGATIVE,
    "validation_fraction": FRACTION,
    "test_fraction": FRACTION,
    "validation_size": NOT_NEGATIVE,
    # training, callbacks, device
    "preallocate": NOT_NEGATIVE,
    "epochs": COUNT,
    "accumulation": COUNT,
    "non_finite_limit": COUNT,
    "rollback_scale": UNIT,
    "every_epochs": COUNT,
    "every_steps": COUNT,
    "every_minutes": POSITIVE,
    "keep": COUNT,
    "low": POSITIVE,
    "high": POSITIVE,
    "steps": COUNT,
    "smoothing": FRACTION,
    "stop_factor": POSITIVE,
    "batch_size": COUNT,
    "evaluation_batch_size": COUNT,
    "steps_per_epoch": COUNT,
    "seed": NOT_NEGATIVE,
    "patience": COUNT,
    "min_delta": NOT_NEGATIVE,
    "threads": COUNT,
}

NULLABLE = (
    "steps_per_epoch",
    "threads",
    "top_k",
    "stride",
    "weight_decay",
    "every_epochs",
    "every_steps",
    "every_minutes",
    "down",
)
# Values of a schedule that have the range of what it schedules.
SCHEDULED = ("final", "minimum")
# What stands for a number in a list of layers until the data is known.
SYMBOLIC = ("outputs", "vocabulary")


def range_of(name: str) -> Interval | None:
    """Return the numbers that a name allows, or None where it says nothing; `NAME_scale` is a factor."""
    return NOT_NEGATIVE if name.endswith("_scale") and name not in RANGES else RANGES.get(name)


def _meaning(child: str, key: str, name: str) -> str:
    """Return what a key's range goes by: its own name, or what is scheduled where that counts."""
    if key == "optimizer" and child == "groups":
        return ""  # those of parameters, not a convolution's
    is_within_schedule = key.startswith("schedule.") or ".schedule." in key
    inherits = child in SCHEDULED or child in ("parts", "schedule")
    return name if is_within_schedule and inherits else child


def refuse_out_of_range(node: Any, key: str = "", name: str = "") -> None:
    """Refuse the first number in a configuration that its name does not allow.

    A schedule's `final` or `minimum` has the range of what it schedules.

    Raises
    ------
    UsageError
        With the key, the value and what is allowed.
    """
    if isinstance(node, Mapping):
        for child, value in node.items():
            below = f"{key}.{child}" if key else str(child)
            refuse_out_of_range(value, below, _meaning(str(child), key, name))
    elif isinstance(node, list):
        for position, value in enumerate(node):
            refuse_out_of_range(value, f"{key}[{position}]", name)
    elif isinstance(node, str) and (".schedule." in key or key.endswith(".schedule")):
        return  # the name of a schedule, not a value of what it schedules
    elif (allowed := range_of(name)) is not None:
        if (node is None and name in NULLABLE) or (node in SYMBOLIC and key.startswith("model.layers[")):
            return
        if node is None or isinstance(node, (str, bool)):
            raise UsageError(f"{key}={'null' if node is None else node} is not a number: give {allowed}")
        if node not in allowed:
            raise UsageError(f"{key}={node} is out of range: give {allowed}")
    elif isinstance(node, float) and node not in ANY:
        raise UsageError(f"{key}={node} is not finite: give {ANY}")
