"""What the schedules of a configuration do over its run, drawn without training."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trainer import config, runtime
from trainer.commands.overrides import rewritten
from trainer.errors import RunError, UsageError
from trainer.loggers.atomic import write_atomically
from trainer.loggers.curves import COLOURS, DPI, GREY, WIDTH
from trainer.loggers.panels import HYPERPARAMETER_HEIGHT
from trainer.loggers.screen import screen
from trainer.loggers.wording import spoken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trainer.hyperparameters import Hyperparameters
    from trainer.settings import Settings

MOST_POINTS = 4000
# A logarithmic axis shows more where most of the run lies far below the largest value.
LOGARITHMIC_BELOW = 0.2
WIDEST_TABLE = 200
QUARTERS = ("first", "25 %", "50 %", "75 %", "last")


@dataclass(frozen=True)
class Course:
    """What scheduled hyperparameters do over a run.

    Attributes
    ----------
    title : str
        The run in a few words.
    epochs, steps_per_epoch : int
        How long it is.
    steps : list of int
        The updates, counted from 0, at which the values stand: all, or evenly chosen ones of a long run.
    values : mapping
        Each scheduled hyperparameter's values.
    follow_metrics : tuple of str
        Those whose schedule depends on what is measured; their values are what they begin with.
    """

    title: str
    epochs: int
    steps_per_epoch: int
    steps: list[int]
    values: Mapping[str, list[float]]
    follow_metrics: tuple[str, ...] = ()


def schedules(overrides: Sequence[str], steps_per_epoch: int | None = None) -> Course:
    """Return what the scheduled hyperparameters of a configuration do, compiling nothing.

    Parameters
    ----------
    overrides : sequence of str
        Of the program's configuration, as for `trainer`.
    steps_per_epoch : int, optional
        Updates in an epoch; what the data gives where omitted.

    Raises
    ------
    UsageError
        Where the configuration is wrong, the data cannot be read, or a schedule has no value at some time.
    """
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        composed = compose("config", overrides=rewritten(overrides))
    runtime.prepare(**config.device_settings(composed))
    settings = config.interpret(composed, overrides)
    hyperparameters, batches = _built(settings)
    if steps_per_epoch is None:
        updates = math.ceil(batches / settings.training.accumulation)
        steps_per_epoch = min(updates, settings.training.steps_per_epoch or updates)
    return _followed(hyperparameters, settings, steps_per_epoch)


def _built(settings: Settings) -> tuple[Hyperparameters, int]:
    """Build the run's expressions; return its hyperparameters, and how many batches its epoch has."""
    from trainer.assembly import Scales, build_network
    from trainer.data.facts import Facts
    from trainer.graph import build_graph

    data, objective = settings.data(), settings.objective()
    objective.check(data)
    facts = Facts.of(data, objective.outputs(data))
    network = build_network(settings, facts, Scales.fitted(settings, data))
    graph = build_graph(settings, network, objective)
    batches = data.train.batches(settings.training.batch_size, seed=settings.training.seed)
    return graph.optimizer.hyperparameters, len(batches)


def _followed(hyperparameters: Hyperparameters, settings: Settings, steps_per_epoch: int) -> Course:
    from trainer.scheduling import check_schedules

    epochs = settings.training.epochs
    total = epochs * steps_per_epoch
    check_schedules(hyperparameters, steps_per_epoch, total)
    points = min(total, MOST_POINTS)
    # The quarters are among them, since the table shows them.
    quarters = {round(quarter * (total - 1) / 4) for quarter in range(5)}
    steps = sorted({round(point * (total - 1) / max(points - 1, 1)) for point in range(points)} | quarters)
    names = sorted(hyperparameters.scheduled, key=lambda name: name != "learning_rate")
    values: dict[str, list[float]] = {name: [] for name in names}
    for step in steps:
        hyperparameters.advance(step, steps_per_epoch, total)
        for name, line in values.items():
            line.append(float(hyperparameters[name].get_value()))
    return Course(settings.title, epochs, steps_per_epoch, steps, values, hyperparameters.follow_metrics)


def draw_schedules(course: Course, path: Path) -> None:
    """Write the picture of `schedules_figure` as a PNG of 1200 pixels' width, whole or not at all.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    picture = io.BytesIO()
    schedules_figure(course).savefig(picture, format="png", dpi=DPI)
    write_atomically(path, picture.getvalue())


def schedules_figure(course: Course) -> Figure:
    """Return a figure of scheduled hyperparameters over the epochs, one panel each.

    An axis is logarithmic where all values are above 0 and at least half of them are below a fifth of the
    largest. What follows a metric is marked, since it cannot be known before the run.
    """
    from matplotlib.figure import Figure

    names = list(course.values)
    figure = Figure(figsize=(WIDTH, HYPERPARAMETER_HEIGHT * len(names) + 0.9), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, number + 1)
        _draw(axes, name, course)
        if number == len(names) - 1:
            axes.set_xlabel("epoch", fontsize=10)
    figure.suptitle(course.title, x=0.01, ha="left", fontsize=14, fontweight="bold", parse_math=False)
    return figure


def _draw(axes: Axes, name: str, course: Course) -> None:
    values = course.values[name]
    epochs = [step / course.steps_per_epoch for step in course.steps]
    axes.set_gid(name)
    axes.plot(epochs, values, color=COLOURS["train"], linewidth=1.8, gid=name)
    axes.set_title(spoken(name.replace(".", " ")), loc="left", fontsize=11, fontweight="bold")
    if name in course.follow_metrics:
        axes.set_title("as long as its metric improves", loc="right", fontsize=9, color=GREY)
    middle = sorted(values)[len(values) // 2]
    if min(values) > 0 and middle < LOGARITHMIC_BELOW * max(values):
        axes.set_yscale("log")
    axes.set_xlim(-0.01 * course.epochs, 1.01 * course.epochs)
    axes.tick_params(labelsize=10, color="#999999")
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#999999")


def show_course(overrides: Sequence[str], output: Path, steps_per_epoch: int | None = None) -> None:
    """Draw the schedules of a configuration into a picture, and print a table of them.

    Raises
    ------
    UsageError
        As `schedules` does; where no hyperparameter has a schedule.
    RunError
        The picture cannot be written.
    """
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise UsageError(f"--steps-per-epoch={steps_per_epoch} is out of range: give at least 1")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    course = schedules(overrides, steps_per_epoch)
    if not course.values:
        raise UsageError("no hyperparameter has a schedule: give one, as in schedule=cosine")
    try:
        draw_schedules(course, output)
    except OSError as error:
        raise RunError(f"{output} cannot be written ({error.strerror or error})") from error
    length = f"{course.epochs} epochs of {course.steps_per_epoch} updates"
    screen().print(f"{course.title}: {length}, drawn in {output}", soft_wrap=True)
    for line in _table_lines(course):
        screen().print(Text(line), soft_wrap=True)
    if course.follow_metrics:
        screen().print("* as long as its metric improves")


def _table_lines(course: Course) -> list[str]:
    """Return the table as wide as it needs to be: shortened names and numbers say nothing."""
    paper = Console(file=io.StringIO(), width=WIDEST_TABLE, color_system=None, force_terminal=False)
    with paper.capture() as capture:
        paper.print(_table(course))
    return [line.rstrip() for line in capture.get().splitlines()]


def _table(course: Course) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in (*QUARTERS, "min", "max"):
        table.add_column(heading, justify="right")
    places = [course.steps.index(round(quarter * course.steps[-1] / 4)) for quarter in range(len(QUARTERS))]
    for name, values in course.values.items():
        shown = [*(values[place] for place in places), min(values), max(values)]
        table.add_row(name + "*" * (name in course.follow_metrics), *(f"{value:.4g}" for value in shown))
    return table
