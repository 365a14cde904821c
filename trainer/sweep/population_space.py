"""What a population varies: what a hyperparameter may be, how it is drawn, and how it is perturbed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)

from trainer.errors import UsageError
from trainer.ranges import refuse_out_of_range

# The groups whose numbers are arguments of shared scalars or of schedules: nothing is compiled anew for them,
# and a network's weights and state go on with other ones.
VARIABLE = ("optimizer", "wrapper", "clipping", "constraint", "gradient", "averaging", "schedule")
_SYNTAX = "interval(LOW,HIGH), tag(log,interval(LOW,HIGH)), choice(A,B,...) or range(START,STOP,STEP)"
_DIGITS = 6


@dataclass(frozen=True)
class Interval:
    """All numbers from `low` to `high`, drawn evenly, or evenly in their logarithm."""

    low: float
    high: float
    logarithmic: bool = False

    def draw(self, random: Random) -> float:
        """Draw a value from the prior."""
        if self.logarithmic:
            return _clipped(math.exp(random.uniform(math.log(self.low), math.log(self.high))), self)
        return _clipped(random.uniform(self.low, self.high), self)

    def perturb(self, value: float, factors: Sequence[float], random: Random) -> float:
        """Multiply a value by one of the factors, within the interval."""
        return _clipped(value * random.choice(factors), self)

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that have to be allowed for all to be."""
        return self.low, self.high


@dataclass(frozen=True)
class Choices:
    """Some numbers, in their order."""

    values: tuple[float, ...]

    def draw(self, random: Random) -> float:
        """Draw one, each as likely as the others."""
        return random.choice(self.values)

    def perturb(self, value: float, factors: Sequence[float], random: Random) -> float:
        """Go to a neighbour: the next smaller or the next larger one, where there is one."""
        place = self.values.index(value) + random.choice((-1, 1))
        return self.values[min(max(place, 0), len(self.values) - 1)]

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that have to be allowed for all to be."""
        return self.values


Dimension = Interval | Choices


def dimension(override: Override) -> Dimension:
    """Return what a sweep override lets a hyperparameter be.

    Parameters
    ----------
    override : Override
        One of Hydra's sweep overrides, as ``optimizer.learning_rate=tag(log,interval(1e-4,1e-1))``.

    Raises
    ------
    UsageError
        Where the key is none that a population can vary, or the values are no numbers in its range.
    """
    key = override.key_or_group
    _refuse_key(key)
    found = _of_sweep(key, override.value())
    for value in found.ends:
        node: Any = int(value) if float(value).is_integer() else value
        for name in reversed(key.split(".")):
            node = {name: node}
        refuse_out_of_range(node)
    return found


def _refuse_key(key: str) -> None:
    group = key.partition(".")[0]
    if key == "training.seed":
        raise UsageError(
            "training.seed is not searched by a population: each member has its own, from training.seed on"
        )
    if group not in VARIABLE or "." not in key:
        raise UsageError(
            f"{key} cannot vary in a population: members go on with each other's weights, so all have the "
            "same network, data and batches, and one compiled step. Give it one value; what can vary are "
            f"numbers of {', '.join(VARIABLE[:-1])} and {VARIABLE[-1]}, as optimizer.learning_rate"
        )


def _of_sweep(key: str, sweep: Any) -> Dimension:
    if isinstance(sweep, IntervalSweep):
        low: Any = sweep.start
        high: Any = sweep.end
        if type(low) is int and type(high) is int:  # what int(interval(...)) makes of them
            raise UsageError(
                f"{key} is an interval of whole numbers: what takes those shapes the compiled step, which "
                f"all members share; give {_SYNTAX}"
            )
        logarithmic = "log" in sweep.tags
        if low is None or high is None or not low < high or not math.isfinite(high - low):
            raise UsageError(f"{key}=interval({low},{high}) is empty: give {_SYNTAX}")
        if logarithmic and low <= 0:
            raise UsageError(f"{key}=interval({low},{high}) has no logarithm at its low end: begin above 0")
        return Interval(float(low), float(high), logarithmic)
    values: list[Any] = []
    if isinstance(sweep, RangeSweep):
        # Hydra adds up the binary values, whose last digits nobody gave.
        values = [value if isinstance(value, int) else float(f"{value:.12g}") for value in sweep.range()]
    elif isinstance(sweep, ChoiceSweep):
        values = list(sweep.list)
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if not values or len(numbers) < len(values):
        raise UsageError(f"{key} is to be among what are no numbers: give {_SYNTAX}")
    return Choices(tuple(sorted(set(numbers))))


def _clipped(value: float, interval: Interval) -> float:
    """Keep a value within, and to as many digits as a person reads."""
    return min(max(float(f"{value:.{_DIGITS}g}"), interval.low), interval.high)


@dataclass(frozen=True)
class Space:
    """All that varies, by the keys of the configuration.

    Every draw comes from a generator of its own, seeded by `seed`, the generation, the member and the
    purpose: what is drawn does not depend on what was drawn before, nor in which process.
    """

    dimensions: Mapping[str, Dimension]
    seed: int = 0

    def random(self, *purpose: object) -> Random:
        """Return the generator for a purpose."""
        # Of a text, Python derives the state by SHA-512, the same on every machine.
        return Random("/".join(str(part) for part in (self.seed, *purpose)))

    def draw(self, member: int) -> dict[str, float]:
        """Draw a member's first hyperparameters from the prior."""
        return {key: found.draw(self.random("first", member, key)) for key, found in self.dimensions.items()}

    def explore(
        self,
        values: Mapping[str, float],
        generation: int,
        member: int,
        factors: Sequence[float],
        resample_probability: float,
    ) -> dict[str, float]:
        """Perturb hyperparameters: draw each anew with a probability, and else take a step from it.

        Parameters
        ----------
        values : mapping
            Those of the member whose state is taken over.
        generation, member : int
            For whom, which seeds the draws.
        factors : sequence of float
            What a number of an interval is multiplied by, one at random.
        resample_probability : float
            From 0 to 1.

        Returns
        -------
        dict
            By key.
        """
        explored = {}
        for key, found in self.dimensions.items():
            random = self.random("explore", generation, member, key)
            is_anew = random.random() < resample_probability
            explored[key] = found.draw(random) if is_anew else found.perturb(values[key], factors, random)
        return explored
