"""`curves.png`: loss, metrics and hyperparameters over a run."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.loggers.base import Logger, Plan
from trainer.loggers.drawing import check_in_sweeps, draw, write_lines
from trainer.loggers.json_lines import earlier_records
from trainer.loggers.panels import PARTS, Course, Panel, Record, panels_of
from trainer.loggers.wording import show, spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = dict(
    zip(PARTS, ("#0072B2", "#D55E00", "#009E73"), strict=True)
)  # told apart by colour-blind eyes too
OTHER_COLOURS = ("#555555", "#CC79A7", "#E69F00", "#56B4E9")
WIDTH = 10.0  # inches, at DPI pixels each
TITLE_HEIGHT, FOOT_HEIGHT, LINE_HEIGHT = 0.35, 0.25, 0.17
LEFT, RIGHT, ABOVE, BELOW = 0.85, 0.15, 0.32, 0.3  # what a panel's numbers and names take around its axes
DPI = 120
MOST_IN_A_COLUMN = 4
WIDE_RANGE = 100.0  # the ratio of largest to smallest from which a logarithmic axis shows more
FEW_POINTS = 40
CHARACTERS_A_LINE = 130
GREY = "#555555"
LEGEND_ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.0, 1.0),
    "ncols": 4,
    "frameon": False,
    "borderaxespad": 0.1,
    "fontsize": 10,
}
LEGEND_WITHIN: dict[str, Any] = {"loc": "best", "framealpha": 0.8, "edgecolor": "none", "fontsize": 9}


class Curves(Logger):
    """Draw `curves.png` into the run's folder at its end; a resumed run's earlier epochs are in it too.

    Parameters
    ----------
    in_sweeps : {'best', 'all'}
        Which jobs of a sweep draw it: those that are the best so far when they end, or all.

    Attributes
    ----------
    records : list of mapping
        What will be drawn, in order.
    """

    def __init__(self, in_sweeps: str = "best") -> None:
        self.in_sweeps = check_in_sweeps(in_sweeps, "curves")
        self.records: list[Record] = []
        self._plan: Plan | None = None

    def start(self, plan: Plan) -> None:
        """Take up the records of the run's earlier life, where it had one."""
        self._plan = plan
        self.records = [*earlier_records(plan)]

    def record(self, record: Mapping[str, float | int]) -> None:
        """Keep a record for the end."""
        self.records.append(dict(record))

    def rewind(self, step: int) -> None:
        """Forget the records of later steps."""
        self.records = [record for record in self.records if (record.get("step") or 0) <= step]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Draw what was recorded; a disk that is full costs the picture and a warning, not the run."""
        plan = self._plan
        if plan is not None and self.records and (self.in_sweeps == "all" or plan.leads(summary)):
            path = plan.folder / "curves.png"
            draw(path, draw_curves, self.records, path, plan.title, plan.monitor, plan.mode)


def draw_curves(
    records: Sequence[Record],
    path: Path,
    title: str = "",
    monitor: str = "validation/loss",
    mode: str = "min",
) -> None:
    """Write the picture of `curves_figure` as a PNG of 1200 pixels' width, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    global _last
    _last = curves_figure(records, title, monitor, mode, _last)
    write_lines(_last, path)


# Most of a figure's cost is to make its ticks; those of a sweep's last job serve the next one.
_last: Figure | None = None


def curves_figure(
    records: Sequence[Record],
    title: str = "",
    monitor: str = "validation/loss",
    mode: str = "min",
    used: Figure | None = None,
) -> Figure:
    """Return a figure of a run: one panel a metric, then one a hyperparameter.

    A metric's training and validation lines share a panel. The best epoch is a dashed line in all of them. An
    axis is logarithmic where all values are positive and the largest is at least 100 times the smallest. The
    learning rate is always drawn, other hyperparameters where they change; those that do not are named below.
    Values that are missing or not finite leave gaps, and the legend names the first.

    Parameters
    ----------
    records : sequence of mapping
        The run's records, in order, as in `metrics.jsonl`; None stands for a number that was not finite. They
        are drawn over `epoch`, or over `step` where an epoch has several.
    title : str
        Stands above all.
    monitor, mode : str
        The key that decides which epoch is the best: by its least value (`min`) or its greatest (`max`).
    used : Figure, optional
        One that was returned earlier: where it has as many panels at the same places, it is cleared and drawn
        on.
    """
    course = Course(records, monitor, mode)
    panels, constants = panels_of(course)
    columns = 1 if len(panels) <= MOST_IN_A_COLUMN else 2
    words = textwrap.fill(f"constant: {', '.join(constants)}", CHARACTERS_A_LINE) if constants else ""
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    heights = [max(panel.height for panel in row) for row in rows]
    foot = FOOT_HEIGHT + LINE_HEIGHT * len(words.splitlines())
    places = [_place(heights, *divmod(number, columns), columns, foot) for number in range(len(panels))]
    figure = _with_axes((WIDTH, TITLE_HEIGHT + sum(heights) + foot), places, used)
    for number, (panel, axes) in enumerate(zip(panels, figure.axes, strict=True)):
        _draw_lines(axes, panel, course)
        _mark_best(axes, panel, course)
        _dress(axes, panel, course)
        if number >= len(panels) - columns:
            axes.set_xlabel(course.x_key, fontsize=10)
        if panel.has_legend:
            axes.legend(**(LEGEND_ABOVE if columns == 1 else LEGEND_WITHIN))
    up = figure.get_figheight()
    figure.suptitle(
        title, x=0.01, y=1 - 0.08 / up, ha="left", va="top", fontsize=14, fontweight="bold", parse_math=False
    )
    if words or figure.get_supxlabel():
        figure.supxlabel(words, x=0.01, y=0.08 / up, ha="left", fontsize=9, color=GREY, parse_math=False)
    return figure


def _place(
    heights: Sequence[float], row: int, column: int, columns: int, foot: float
) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of a panel's axes, in parts of the figure.

    From sizes that are known: to find them out, matplotlib would lay out everything three times over.
    """
    whole = TITLE_HEIGHT + sum(heights) + foot
    across = WIDTH / columns
    bottom = foot + sum(heights[row + 1 :]) + BELOW
    width, height = across - LEFT - RIGHT, heights[row] - ABOVE - BELOW
    return (column * across + LEFT) / WIDTH, bottom / whole, width / WIDTH, height / whole


def _with_axes(
    size: tuple[float, float], places: Sequence[tuple[float, float, float, float]], used: Figure | None
) -> Figure:
    """Return a figure with empty axes at these places: the used one where it fits, else a new one."""
    from matplotlib.figure import Figure

    if used is None or not _fits(used, size, places):
        figure = Figure(figsize=size, dpi=DPI)
        for place in places:
            figure.add_axes(place)
        return figure
    for axes in used.axes:
        for artist in [*axes.lines, *filter(None, [axes.get_legend()])]:
            artist.remove()
        axes.relim()
        axes.set(yscale="linear", xlabel="")
        axes.autoscale()
    return used


def _fits(
    figure: Figure, size: tuple[float, float], places: Sequence[tuple[float, float, float, float]]
) -> bool:
    import numpy as np

    has = [axes.get_position(original=True).bounds for axes in figure.axes]
    return (
        len(has) == len(places) and np.allclose(has, places) and np.allclose(figure.get_size_inches(), size)
    )


def _draw_lines(axes: Axes, panel: Panel, course: Course) -> None:
    others = itertools.cycle(OTHER_COLOURS)
    finite: list[float] = []
    for key in panel.keys:
        namespace, broken = key.rpartition("/")[0], course.first_broken(key)
        values = course.values(key)
        finite += [value for value in values if math.isfinite(value)]
        axes.plot(
            course.x,
            values,
            color=COLOURS["train"] if panel.is_hyperparameter else COLOURS.get(namespace) or next(others),
            linewidth=1.8,
            marker="o" if len(values) <= FEW_POINTS else None,
            markersize=3.5 if len(values) > 1 else 7,
            label=spoken(namespace or key)
            + ("" if broken is None else f" (not finite at {course.x_key} {broken:.0f})"),
            gid=key,
        )
    if finite and panel.may_be_logarithmic and 0 < min(finite) * WIDE_RANGE <= max(finite):
        axes.set_yscale("log")


def _mark_best(axes: Axes, panel: Panel, course: Course) -> None:
    if course.best is None:
        return
    x = course.x[course.best]
    axes.axvline(x, color="#999999", linewidth=1, linestyle=(0, (4, 3)), zorder=1, gid="best")
    if course.monitor not in panel.keys:
        return
    value = course.values(course.monitor)[course.best]
    axes.plot(
        [x],
        [value],
        linestyle="none",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor="#222222",
        label=f"best: {course.x_key} {x:.0f}, {show(course.monitor, value)}",
        gid=f"best/{course.monitor}",
    )


def _dress(axes: Axes, panel: Panel, course: Course) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_gid(panel.name)
    axes.set_title(spoken(panel.name.replace(".", " ")), loc="left", y=1.0, fontsize=11, fontweight="bold")
    if panel.is_fraction:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    first, last = course.x[0], course.x[-1]
    margin = 0.02 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=10, color="#999999")
    axes.yaxis.get_offset_text().set(horizontalalignment="right", fontsize=9)  # "1e-5", clear of the title
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")
