"""The screen: what is trained, a row an epoch above two live bars, and how it ended."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import console as rich_console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trainer.loggers.bars import Bars
from trainer.loggers.base import LayerRow, Logger, Plan
from trainer.loggers.json_lines import earlier_records
from trainer.loggers.rows import EpochTable
from trainer.loggers.screen import is_hushed, screen, shown, shows_bars
from trainer.loggers.wording import CLOCKWORK, HYPERPARAMETER, near, show, span, spoken

log = logging.getLogger(__name__)

REFRESHES_PER_SECOND = 5  # smooth to the eye, and half a percent of one core
STATUS_STYLES = {"completed": "bold green", "stopped_early": "bold green", "interrupted": "bold yellow"}


class Console(Logger):
    """Show a run on the screen, and log the same lines for `train.log`.

    On a terminal the epochs' rows scroll by above two live bars; elsewhere there are the rows alone, as plain
    text. A job of a multirun shows nothing, since one table shows all jobs: its lines are logged alone.

    Parameters
    ----------
    live : bool, optional
        Whether to draw the live bars. By default where the output is a terminal that can show them.
    console : rich.console.Console, optional
        Where to show it; the program's own console by default.
    """

    def __init__(self, live: bool | None = None, console: rich_console.Console | None = None) -> None:
        self._console = console or screen()
        self._wants_bars = live
        self._live: Live | None = None
        self._plan: Plan | None = None
        self._table = EpochTable("")

    def start(self, plan: Plan) -> None:
        """Show what will be trained, and begin to draw the bars."""
        live = shows_bars(self._console) if self._wants_bars is None else self._wants_bars
        live = live and not is_hushed()
        width = self._console.width - 1 if live else None
        self._plan = plan
        self._table = EpochTable(plan.monitor, plan.mode, width)
        for record in earlier_records(plan):
            self._table.remember(record)
        self._say(Text(plan.title, "bold"))
        self._say(_labelled("folder", "dim", near(plan.folder)))
        if plan.network:
            self._say_table(network_table(plan.network))
        if live:
            bars = Bars(plan.progress, self._console)
            self._live = Live(
                get_renderable=bars.draw,
                console=self._console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start(refresh=True)

    def record(self, record: Mapping[str, float | int]) -> None:
        """Show a row, the best so far marked with a star."""
        lines = self._table.lines(record)
        if len(lines) > 1:
            self._skip_line()
        for line in lines:
            self._say(line)

    def rewind(self, step: int) -> None:
        """Forget what was best at later steps."""
        self._table.rewind(step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the bars away, which `close` does too, and show how the run ended."""
        self.close()
        self._skip_line()
        for line in _ending(summary):
            self._say(line)
        if self._plan is not None:
            self._say(_labelled("folder", "dim", near(self._plan.folder)))

    def close(self) -> None:
        """Take the bars away and give the cursor back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _skip_line(self) -> None:
        if not is_hushed():
            self._console.line()

    def _say(self, line: Text) -> None:
        if not is_hushed():
            self._console.print(line, soft_wrap=True)
        shown(line.plain, log)

    def _say_table(self, table: Table) -> None:
        if not is_hushed():
            self._console.print(table)
        paper = rich_console.Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        with paper.capture() as capture:
            paper.print(table)
        for line in capture.get().splitlines():
            shown(line.rstrip(), log)


def network_table(rows: Sequence[LayerRow]) -> Table:
    """Return a table of a network's layers, with the sum of their parameters.

    Parameters
    ----------
    rows : sequence of (str, shape, int)
        Each layer's name, output shape (None where it depends on the batch) and number of parameters.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("parameters", justify="right", no_wrap=True)
    for name, shape, parameters in rows:
        table.add_row(Text(name), Text(_shape(shape)), f"{parameters:,}" if parameters else "")
    total = sum(parameters for _, _, parameters in rows)
    table.add_row(Text("total", "bold"), "", Text(f"{total:,}", "bold"))
    return table


def _shape(shape: Iterable[int | None]) -> str:
    return " x ".join("batch" if size is None else str(size) for size in shape)


def _ending(summary: Mapping[str, Any]) -> Iterable[Text]:
    status = str(summary.get("status", "done"))
    amounts, times = _effort(summary)
    yield _labelled(status.replace("_", " "), STATUS_STYLES.get(status, "bold red"), amounts)
    if times:
        yield _labelled("time", "bold", times)
    best = summary.get("best") or {}
    if best:
        at = f"epoch {best['epoch']}: " if "epoch" in best else ""
        yield _labelled("best", "bold", at + _metrics(best))
    if summary.get("test"):
        yield _labelled("test", "bold", _metrics(summary["test"]))


def _effort(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return how much was trained, and in what time; what is not known is left out."""

    def known(key: str) -> bool:
        return isinstance(summary.get(key), (int, float)) and math.isfinite(summary[key])

    amounts = [f"{summary[key]:,} {key}" for key in ("epochs", "steps") if known(key)]
    works = {"train_seconds": "training", "compile_seconds": "compiling"}
    times = [f"{span(summary[key])} {work}" for key, work in works.items() if known(key)]
    if known("examples_per_second"):
        times.append(f"{summary['examples_per_second']:,.0f} examples/s")
    return ", ".join(amounts), ", ".join(times)


def _metrics(values: Mapping[str, Any]) -> str:
    """Return the metrics that judge the network: those of training are left to the rows."""
    keys = [key for key in values if key not in CLOCKWORK and not key.startswith((HYPERPARAMETER, "train/"))]
    numbers = [key for key in keys if values[key] is None or isinstance(values[key], (int, float))]
    return ", ".join(f"{spoken(key)} {show(key, values[key])}" for key in numbers)


def _labelled(label: str, style: str, words: str) -> Text:
    return Text.assemble((f"{label:14}", style), words)
