"""How much each varied hyperparameter matters to the metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer import forest
from trainer.loggers.drawing import called_beside, is_beside
from trainer.sweep.results import Results

FEWEST_JOBS = 8
# The ratio of largest to smallest from which amounts are compared by their logarithms.
WIDE_RANGE = 100.0
# What the middle amount is of the largest, where most lie far below that.
LOW_MIDDLE = 0.2


@dataclass(frozen=True)
class Importance:
    """The importance of each varied key.

    Attributes
    ----------
    means, spreads : mapping of str to float
        By how much the forest's R² falls when the key's values are shuffled among the jobs: the mean over
        the shuffles, and their standard deviation.
    jobs : int
        How many jobs it was learnt from.
    r2 : float
        How much of the ranks' variance the forest explains of jobs that a tree has not seen (out of bag): 1
        is all, 0 or less is nothing.
    """

    means: Mapping[str, float]
    spreads: Mapping[str, float]
    jobs: int
    r2: float


def importance(results: Results) -> Importance | None:
    """Return the permutation importance of the varied keys, seeds aside; None for fewer than 8 jobs.

    A random forest (scikit-learn's) learns each job's rank by the metric: ranks, since the loss of one poor
    job may be a thousand times another's. Numbers that span decades go in as logarithms; words by their
    place in the alphabet, which a forest can cut anywhere. The forest's seed is fixed: the same jobs give the
    same numbers.

    References
    ----------
    Breiman 2001, "Random Forests", Machine Learning 45, section 10.
    """
    jobs = [job for job in results.jobs if results.score(job) is not None]
    if len(jobs) < FEWEST_JOBS or not results.keys:
        return None
    scores = [score for job in jobs if (score := results.score(job)) is not None]
    if min(scores) == max(scores):
        return None
    inputs = [encoded([job.value(key) for job in jobs]) for key in results.keys]
    means, spreads, r2 = called_beside(forest.learn, inputs, scores).result()
    return Importance(
        means=dict(zip(results.keys, means, strict=True)),
        spreads=dict(zip(results.keys, spreads, strict=True)),
        jobs=len(jobs),
        r2=r2,
    )


def prepare() -> None:
    """Have the process beside import what `importance` would wait for, where there is one."""
    if is_beside():
        called_beside(forest.prepare)


def encoded(values: Sequence[Any]) -> list[float]:
    """Return values as numbers that a forest can cut: see `importance`. What is missing lies below all."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    if numbers and all(value is None or isinstance(value, (int, float)) for value in values):
        if is_wide(numbers):
            return [math.log(value) if value else math.log(min(numbers)) - 1 for value in values]
        return [float(min(numbers) - 1 if value is None else value) for value in values]
    order = {text: place for place, text in enumerate(sorted({str(value) for value in values}))}
    return [float(order[str(value)]) for value in values]


def is_wide(numbers: Sequence[float]) -> bool:
    """Tell whether amounts span so much that their logarithms say more."""
    least, most = min(numbers), max(numbers)
    return least > 0 and most >= WIDE_RANGE * least and statistics.median(numbers) <= LOW_MIDDLE * most
