"""How this program's pictures look: colours, size, title."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
GREY, DARK = "#555555", "#222222"
BLUE, ORANGE = "#0072B2", "#D55E00"  # told apart by colour-blind eyes too; those of curves.png


def title(figure: Figure, words: str) -> None:
    """Write words above all else."""
    figure.suptitle(words, x=0.01, ha="left", fontsize=12, fontweight="bold", parse_math=False)


def figure_class() -> type[Figure]:
    """Return matplotlib's class of figures."""
    # matplotlib costs half a second, which a run that draws nothing need not spend.
    from matplotlib.figure import Figure

    return Figure
