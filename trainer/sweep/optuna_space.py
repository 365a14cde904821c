"""What Optuna searches: Hydra's sweep syntax as its distributions, and its values as overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trainer.errors import UsageError


@dataclass(frozen=True)
class SearchSpace:
    """What varies from trial to trial, and what all have in common.

    Attributes
    ----------
    distributions : mapping
        By key, without Hydra's signs.
    forms : mapping
        The same keys with their signs, as a job is given them.
    common : sequence of str
        The overrides that each job is given.
    """

    distributions: Mapping[str, BaseDistribution]
    forms: Mapping[str, str]
    common: Sequence[str]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> SearchSpace:
        """Take the search space out of what was given, the last for each key.

        Raises
        ------
        UsageError
            Where nothing varies, and for a range that Optuna cannot search.
        """
        last = {override.get_key_element().lstrip("+"): override for override in overrides}
        overrides = list(last.values())
        swept = [override for override in overrides if override.is_sweep_override()]
        if not swept:
            raise UsageError(
                "hydra/sweeper=optuna has nothing to search: give a key a range, as in "
                "'optimizer.learning_rate=tag(log,interval(1e-5,1e-1))', choice(A,B) or range(1,9)"
            )
        forms = {override.get_key_element().lstrip("+"): override.get_key_element() for override in swept}
        distributions = {key: _distribution(override) for key, override in zip(forms, swept, strict=True)}
        common = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
        return cls(distributions, forms, common)

    def propose(self, trial: optuna.Trial) -> list[str]:
        """Return a trial's overrides: values that it has already, the others as its study proposes them."""
        values = {key: trial._suggest(key, each) for key, each in self.distributions.items()}
        return [*(f"{self.forms[key]}={_written(value)}" for key, value in values.items()), *self.common]

    def grid(self) -> dict[str, list[Any]]:
        """Return all values of each key.

        Raises
        ------
        UsageError
            For an interval, which has too many.
        """
        return {key: _values(key, each) for key, each in self.distributions.items()}


def _distribution(override: Override) -> BaseDistribution:
    sweep: Any = override.value()
    if not isinstance(sweep, (IntervalSweep, RangeSweep)):
        return CategoricalDistribution(tuple(override.sweep_string_iterator()))
    logarithmic = "log" in sweep.tags
    try:
        if isinstance(sweep, IntervalSweep):
            low: Any = sweep.start
            high: Any = sweep.end
            if type(low) is int and type(high) is int:  # what int(interval(...)) makes of them
                return IntDistribution(low, high, log=logarithmic)
            return FloatDistribution(low, high, log=logarithmic)
        values = list(sweep.range())
        if all(isinstance(value, int) for value in values):
            return IntDistribution(min(values), max(values), log=logarithmic, step=abs(int(sweep.step)))
        return FloatDistribution(min(values), max(values), log=logarithmic, step=abs(float(sweep.step)))
    except (ValueError, TypeError) as error:
        raise UsageError(f"{override.input_line}: Optuna cannot search this ({error})") from error


def _values(key: str, distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    assert isinstance(distribution, FloatDistribution)
    if distribution.step is None:
        raise UsageError(
            f"{key} is an interval, which hydra/sweeper/sampler=grid cannot go through: give choice(A,B) or "
            "range(START,STOP,STEP), or choose another sampler"
        )
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    return [distribution.low + number * distribution.step for number in range(count)]


def _written(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)
