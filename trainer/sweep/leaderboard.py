"""What a sweep came to: the table of its jobs on the screen, `sweep.csv` and `sweep.html` in its folder."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from trainer.loggers.screen import screen
from trainer.loggers.wording import near, show, spoken
from trainer.sweep.jobs import BROKEN, read_jobs
from trainer.sweep.results import Results, chosen
from trainer.sweep.table import write_table

log = logging.getLogger(__name__)

MOST_ROWS = 30


class Leaderboard(Callback):
    """Hydra calls this at a multirun's end; it shows the jobs, the best first, and writes table and page."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show and write what the jobs in the sweep's folder came to."""
        folder = Path(config.hydra.sweep.dir)
        jobs = read_jobs(folder)
        if jobs:
            show_sweep(Results(folder, jobs, *chosen(jobs, None, None)))


def show_sweep(results: Results, page: Path | None = None) -> bool:
    """Print a sweep's leaderboard, and write `sweep.csv` and `sweep.html`.

    A file that cannot be written costs a warning: the jobs are done, and `trainer-report` makes it later.

    Parameters
    ----------
    results : Results
        Of a sweep's folder.
    page : Path, optional
        Where the page is written; default: `sweep.html` in the sweep's folder.

    Returns
    -------
    bool
        Whether both files were written.
    """
    assert results.folder is not None
    show_leaderboard(results)
    table, page = results.folder / "sweep.csv", page or results.folder / "sweep.html"
    has_table = _written(table, lambda: write_table(results, table))
    has_page = _written(page, lambda: _write_page(results, page))
    if has_page:
        screen().print(f"The sweep is in {near(results.folder)}: open {near(page)}", soft_wrap=True)
    return has_table and has_page


def show_leaderboard(results: Results) -> None:
    """Print the table of the jobs, and that of their settings where seeds were varied."""
    screen().print(leaderboard(results, screen().width))
    left = len(results.jobs) - MOST_ROWS
    if left > 0:
        screen().print(f"and {left} more")
    if results.groups:
        screen().print(settings(results))


def show_failures(results: Results) -> None:
    """Print the jobs that have not come to their end, with their reasons."""
    broken = [job for job in results.jobs if job.status in BROKEN]
    if broken:
        screen().print(f"{len(broken)} of {len(results.jobs)} have not come to their end:")
    for job in broken:
        screen().print(f"  {job.name} ({job.status}): {job.error}", soft_wrap=True)


def leaderboard(results: Results, width: int | None = None) -> Table:
    """Return the table of the jobs, the best by the metric first, those without a value last.

    There is a column for each key that the jobs do not all share, and for each metric that one of them has.

    Parameters
    ----------
    results : Results
        The jobs.
    width : int, optional
        Letters of a line; where the table is wider, other metrics than the one that counts are left out,
        from the last. No number is broken or shortened.
    """
    validated = [name for name in results.measured if name.startswith("validation/")]
    measured = list(dict.fromkeys([results.metric, *validated]))
    tested = sorted(results.tested, key=lambda name: name != results.metric.rpartition("/")[2])
    table = _leaderboard(results, measured, tested)
    while width is not None and _natural_width(table) > width and len(measured) + len(tested) > 1:
        if len(tested) > 1 or len(measured) == 1:
            tested = tested[:-1]
        else:
            measured = measured[:-1]
        table = _leaderboard(results, measured, tested)
    return table


def _leaderboard(results: Results, measured: Sequence[str], tested: Sequence[str]) -> Table:
    statuses = ["status"] if set(results.counts) != {"completed"} else []
    table = _empty(f"{len(results.jobs)} {'jobs' if results.folder else 'runs'} by {spoken(results.metric)}")
    # What runs differ in may be much; it has a table of its own.
    varied = results.varied if results.folder is not None else []
    table.add_column(
        "job" if results.folder else "run", justify="right" if results.folder else "left", overflow="fold"
    )
    # A word of a heading has a line of its own, so that a column is no wider than its widest word.
    for name in (*map(heading, varied), *statuses):
        table.add_column("\n".join(name.split()), overflow="fold")
    for name in ("epoch", *map(spoken, measured), *(f"test {spoken(name)}" for name in tested)):
        table.add_column("\n".join(name.split()), justify="right", no_wrap=True)
    for job in results.ranked[:MOST_ROWS]:
        table.add_row(
            results.name(job),
            *(written(job.value(key)) for key in varied),
            *([job.status.replace("_", " ")] * len(statuses)),
            written(job.best.get("epoch")),
            *map(_unbroken, _shown(job.best, measured)),
            *map(_unbroken, _shown(job.test, tested)),
        )
    return table


def _unbroken(number: str) -> str:
    return number.replace(" ", "\u00a0")


def _natural_width(table: Table) -> int:
    """Return how wide a table is where nothing in it is broken."""
    wide = Console(width=10_000, file=io.StringIO())
    return Measurement.get(wide, wide.options, table).maximum


def differences(results: Results) -> Table:
    """Return the table of what runs differ in: a row a key of their configurations, a column a run."""
    table = _empty("where their configurations differ")
    table.add_column("", overflow="fold")
    for job in results.jobs:
        table.add_column(results.name(job), overflow="fold")
    for key in results.varied:
        table.add_row(key, *(written(job.value(key)) for job in results.jobs))
    return table


def settings(results: Results) -> Table:
    """Return the table of the settings over their seeds: the metric's mean and spread, the best first."""
    table = _empty(f"{spoken(results.metric)} over the seeds")
    for key in results.keys:
        table.add_column(heading(key), overflow="fold")
    for name in ("seeds", "mean", "spread", "least", "greatest"):
        table.add_column(name, justify="right")
    for group in results.groups[:MOST_ROWS]:
        numbers = (group.mean, group.spread, group.least, group.greatest)
        table.add_row(
            *(written(group.jobs[0].value(key)) for key in results.keys),
            str(len(group.jobs)),
            *("" if number is None else show(results.metric, number) for number in numbers),
        )
    return table


def heading(key: str) -> str:
    """Return a varied key as a column's heading.

    >>> heading("optimizer.learning_rate"), heading("training.seed"), heading("model._target_")
    ('learning rate', 'seed', 'model target')
    """
    parts = key.split(".")
    last = parts[-1].strip("_").replace("_", " ")
    return f"{parts[-2]} {last}" if len(parts) > 1 and parts[-1] == "_target_" else last


def written(value: Any) -> str:
    """Return a key's value as text, nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _empty(title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title)
    table.title_justify = "left"
    return table


def _shown(numbers: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [show(name, numbers[name]) if name in numbers else "" for name in names]


def _write_page(results: Results, page: Path) -> None:
    from trainer.sweep.page import write_page

    write_page(results, page)


def _written(path: Path, write: Callable[[], None]) -> bool:
    try:
        write()
    except OSError as error:
        log.warning(
            "%s cannot be written (%s): make room, then run trainer-report %s",
            path,
            error.strerror or error,
            path.parent,
        )
        return False
    return True
