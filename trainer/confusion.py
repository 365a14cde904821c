"""The picture of a confusion matrix; imports no Theano, so that any process draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.figures import BLUE, DARK, DPI, ORANGE, figure_class, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_WITH_SHARES, MOST_WITH_COUNTS = 12, 30  # classes that leave room for a percentage, and for a count
LONGEST_NAME = 18  # characters
TICKS, SIDE_NAME, MARGIN, ABOVE = 0.1, 0.3, 0.15, 0.4  # inches around the matrix
CHARACTER = 0.7  # the width of one, in parts of its size


def confusion_picture(counts: NDArray[Any], class_names: Sequence[str] | None, name: str) -> Figure:
    """Return a picture of a confusion matrix: a row for each true class, a column for each answered one.

    A cell says how often, and in which share of its row's examples where there is room. What is right is
    blue, what is wrong orange, the darker the larger the share; the orange ones on a scale of their own,
    since few errors are what one looks for.

    Parameters
    ----------
    counts : array of int, (classes, classes)
        The matrix.
    class_names : sequence of str or None
        The classes by number; the numbers stand where there are no names.
    name : str
        What the data are called.
    """
    classes = len(counts)
    names = [_shortened(name) for name in class_names or map(str, range(classes))]
    in_row = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, in_row, out=np.zeros(counts.shape), where=in_row > 0)
    side = min(max(0.62 * classes, 2.2), 12.0)
    size = 10 if classes <= MOST_WITH_COUNTS else 6
    longest = max(map(len, names)) * size * CHARACTER / 72
    upright = longest > side / classes
    left, below = (TICKS + room + SIDE_NAME for room in (longest, longest if upright else size / 72))
    width, height = left + side + MARGIN, below + side + ABOVE
    figure = figure_class()(figsize=(width, height), dpi=DPI)
    # From sizes that are known: to find them out, matplotlib would lay out everything several times.
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    axes.imshow(_confusion_colours(shares), interpolation="nearest")
    axes.set_xticks(range(classes), names, rotation=90 if upright else 0)
    axes.set_yticks(range(classes), names)
    axes.tick_params(length=0, labelsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right, total = int(np.trace(counts)), int(counts.sum())
    title(figure, f"{name}: {right:,} of {total:,} right")
    for spine in axes.spines.values():
        spine.set_visible(False)
    for border in np.arange(0.5, classes - 1):
        axes.axhline(border, color="white", linewidth=1)
        axes.axvline(border, color="white", linewidth=1)
    if classes <= MOST_WITH_COUNTS:
        _write_cells(axes, counts, shares)
    return figure


def _confusion_colours(shares: NDArray[Any]) -> NDArray[Any]:
    """Return RGB for each cell, from white to full blue on the diagonal, to full orange off it."""
    from matplotlib.colors import to_rgb

    wrong = shares * (1 - np.eye(len(shares)))
    scale = max(wrong.max(initial=0.0), 0.05)
    strength = np.where(np.eye(len(shares), dtype=bool), shares, np.sqrt(wrong / scale) * 0.75)[..., None]
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    empty = np.full(3, 0.965)
    colours: NDArray[Any] = empty + strength * (full - empty)
    return colours


def _write_cells(axes: Axes, counts: NDArray[Any], shares: NDArray[Any]) -> None:
    with_shares = len(counts) <= MOST_WITH_SHARES
    size = 10 if with_shares else 8 if len(counts) <= 20 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if not count:
            continue
        share = f"\n{100 * shares[row, column]:.1f} %" if with_shares else ""
        on_dark = row == column and shares[row, column] > 0.5
        axes.text(
            column,
            row,
            f"{count:,}{share}",
            ha="center",
            va="center",
            fontsize=size - (1.5 if with_shares else 0),
            color="white" if on_dark else DARK,
        )


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
