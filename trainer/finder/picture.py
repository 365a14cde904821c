"""`learning_rate.png`: loss against learning rate, as a sweep found it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.loggers.atomic import write_atomically
from trainer.loggers.curves import COLOURS, DPI, LEGEND_ABOVE, WIDE_RANGE, WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT = 4.2  # inches


def draw_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    path: Path,
    title: str = "",
) -> None:
    """Write the picture of `rates_figure` as a PNG, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    picture = io.BytesIO()
    rates_figure(rates, losses, smoothed, suggestion, title).savefig(picture, format="png", dpi=DPI)
    write_atomically(path, picture.getvalue())


def rates_figure(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    title: str = "",
) -> Figure:
    """Return a figure of loss against learning rate, the rate suggested marked by a line.

    The rates are on a logarithmic axis, and the losses too where the largest smoothed one is at least 100
    times the smallest. Losses far above the smoothed ones are cut off: the end of a sweep says nothing.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="#BBBBBB", linewidth=1, label="loss of a batch", gid="loss")
    axes.plot(rates, smoothed, color=COLOURS["train"], linewidth=1.8, label="smoothed", gid="smoothed")
    if suggestion is not None:
        axes.axvline(
            suggestion,
            color=COLOURS["validation"],
            linewidth=1.5,
            linestyle=(0, (4, 3)),
            label=f"suggested: {suggestion:g}",
            gid="suggestion",
        )
    axes.set_xscale("log")
    least, most = min(smoothed), max(smoothed)
    if 0 < least * WIDE_RANGE <= most:
        axes.set_yscale("log")
    else:
        margin = 0.08 * (most - least) or 0.5
        axes.set_ylim(min(losses) - margin, most + margin)
    axes.set_title("loss", loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("learning rate", fontsize=10)
    axes.tick_params(labelsize=10, color="#999999")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")
    axes.legend(**LEGEND_ABOVE)
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold", parse_math=False)
    return figure
