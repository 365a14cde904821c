"""A random forest that says how much of a ranking each of some columns explains.

It imports nothing of this program: a process that is asked for it has nothing else to wait for.
"""

from __future__ import annotations

import warnings

TREES = 100
REPEATS = 10


def prepare() -> None:
    """Import what `learn` needs, which takes a second."""
    import sklearn.ensemble
    import sklearn.inspection  # noqa: F401


def learn(columns: list[list[float]], scores: list[float]) -> tuple[list[float], list[float], float]:
    """Return by how much the forest's R² falls when each column is shuffled, and how good the forest is.

    Parameters
    ----------
    columns : list of lists of float
        A value of each row.
    scores : list of float
        One for each row, of which the forest learns the ranks.

    Returns
    -------
    means, spreads : lists of float
        Of the fall of R² over 10 shuffles, for each column: mean and standard deviation.
    r2 : float
        The part of the ranks' variance that is explained of rows that a tree has not seen (out of bag).

    References
    ----------
    Breiman 2001, "Random Forests", Machine Learning 45, section 10.
    """
    import numpy as np
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rows, targets = np.array(columns).T, rankdata(scores)
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0, n_jobs=1)
    with warnings.catch_warnings():
        # A row that is in every tree has no out-of-bag value; with 100 trees, hardly ever.
        warnings.simplefilter("ignore", UserWarning)
        forest.fit(rows, targets)
    fallen = permutation_importance(forest, rows, targets, n_repeats=REPEATS, random_state=0, n_jobs=1)
    return fallen.importances_mean.tolist(), fallen.importances_std.tolist(), float(forest.oob_score_)
