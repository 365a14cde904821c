"""Which learning rate a sweep of losses suggests, and why."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Two opinions that differ by no more than this factor are taken to agree: the range of good rates is as wide.
AGREEMENT = 4.0
# The loss falls where it goes below its beginning by this many standard deviations of the averaged loss,
# which a sweep of noise alone does not, and by this part of it.
SIGNIFICANT, NOTICEABLE = 8.0, 0.01


def suggest(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    smoothing: float,
    ended: str,
) -> tuple[float | None, str]:
    """Choose a learning rate from a sweep, and say why.

    The first opinion is the rate where the smoothed loss falls fastest with the logarithm of the rate, up to
    its lowest: there training gains most from a larger step. The fall is taken over a span as long as the
    average, since that of neighbours is noise. The second opinion is a tenth of the rate of the lowest
    smoothed loss, where the next larger rates begin to do harm. Where the two lie within a factor of 4, the
    first is suggested; where they do not, noise may have led either astray, and the suggestion is their
    geometric mean.

    Parameters
    ----------
    rates, losses, smoothed : sequences of float
        The sweep; all finite.
    smoothing : float
        Of the average.
    ended : str
        As in `Finding`.

    Returns
    -------
    suggestion : float or None
        To two digits; None where the loss never fell by more than chance.
    reason : str
        Why, or what to try.

    References
    ----------
    Smith (2017), Cyclical learning rates for training neural networks. arXiv:1506.01186 (the range test, and
    the rate at which the loss falls as the mark to look for).
    """
    settled = _settled(smoothing)
    lowest = settled + int(np.argmin(smoothed[settled:])) if len(smoothed) > settled else 0
    if not _falls(losses, smoothed[lowest], smoothing):
        lower = (
            "a lower find_learning_rate.low" if ended != "completed" else "a higher find_learning_rate.high"
        )
        return None, (
            f"the loss never fell from {_number(losses[0])} by more than chance between the rates "
            f"{rates[0]:.2g} and {rates[-1]:.2g}, so that no rate can be suggested: try {lower}, more "
            "find_learning_rate.steps, clipping=total_norm, or data.normalization=standard"
        )
    tenth = rates[lowest] / 10
    steepest = _steepest(rates, smoothed, smoothing, lowest)
    fall = f"the loss is lowest, {_number(smoothed[lowest])}, at {rates[lowest]:.2g}"
    if steepest is None:
        chosen, why = tenth, f"a tenth of the rate where {fall}; it falls too early to see where most"
    elif max(steepest, tenth) <= AGREEMENT * min(steepest, tenth):
        chosen, why = steepest, f"there the loss falls fastest; {fall}, and a tenth of that agrees"
    else:
        chosen = math.sqrt(steepest * tenth)
        why = (
            f"the loss falls fastest at {steepest:.2g}, but {fall}, and a tenth of that does not agree: "
            "the geometric mean of both"
        )
    if ended == "completed" and lowest >= len(rates) - len(rates) // 20:
        why += "; it still fell at the end, so that a higher find_learning_rate.high may show more"
    return float(f"{chosen:.2g}"), why


def _settled(smoothing: float) -> int:
    """Return how many losses the average is of; that of fewer is as noisy as they are."""
    return max(round(1 / (1 - smoothing)), 2)


def _falls(losses: Sequence[float], lowest: float, smoothing: float) -> bool:
    beginning = max(len(losses) // 10, 2)
    if len(losses) < 2 * beginning:
        return False
    start = float(np.mean(losses[:beginning]))
    # By the differences of neighbours, in which a slow fall does not count as noise.
    noise = float(np.std(np.diff(losses[: 2 * beginning]))) / math.sqrt(2)
    of_average = noise * math.sqrt((1 - smoothing) / (1 + smoothing))
    return start - lowest > max(SIGNIFICANT * of_average, NOTICEABLE * abs(start))


def _steepest(
    rates: Sequence[float], smoothed: Sequence[float], smoothing: float, lowest: int
) -> float | None:
    """Return the rate in the middle of the span over which the smoothed loss falls most."""
    span = _settled(smoothing)
    falls = {
        first + span // 2: smoothed[first + span] - smoothed[first]
        for first in range(span, lowest - span + 1)
    }
    return float(rates[min(falls, key=falls.__getitem__)]) if falls else None


def _number(value: float) -> str:
    return f"{value:.3g}"
