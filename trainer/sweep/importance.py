"""How much each varied hyperparameter matters to the metric."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.sweep.results import Results

FEWEST_JOBS = 8
TREES = 100
REPEATS = 10
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
    # They take a second to import.
    import numpy as np
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    inputs = np.array([encoded([job.value(key) for job in jobs]) for key in results.keys]).T
    targets = rankdata([results.score(job) for job in jobs])
    if np.ptp(targets) == 0:
        return None
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0, n_jobs=1)
    with warnings.catch_warnings():
        # A job that is in every tree has no out-of-bag value; with 100 trees, hardly ever.
        warnings.simplefilter("ignore", UserWarning)
        forest.fit(inputs, targets)
    shuffled = permutation_importance(forest, inputs, targets, n_repeats=REPEATS, random_state=0, n_jobs=1)
    return Importance(
        means=dict(zip(results.keys, map(float, shuffled.importances_mean), strict=True)),
        spreads=dict(zip(results.keys, map(float, shuffled.importances_std), strict=True)),
        jobs=len(jobs),
        r2=float(forest.oob_score_),
    )


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
