"""The jobs of a multirun on the screen while it works."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trainer.loggers.screen import hushed, screen, shows_bars
from trainer.sweep.importance import FEWEST_JOBS, prepare

if TYPE_CHECKING:
    from trainer.sweep.live_jobs import LiveSweep
    from trainer.sweep.live_terminal import Terminal

log = logging.getLogger(__name__)

INTERVAL, LONGEST_INTERVAL = 0.5, 5.0  # seconds between two looks
# A look may take this part of the time, however many jobs there are: the training may need the same core.
SHARE = 0.01

_display: Display | None = None


class LiveTable(Callback):
    """Hydra calls this where a multirun begins and ends, in the process that launches the jobs.

    On a terminal there is one table of all jobs, drawn anew twice a second; elsewhere a line for each job
    that ends. Neither asks the jobs: their folders are read.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Begin to show the jobs."""
        global _display
        end()
        from trainer.sweep.live_jobs import LiveSweep

        folder = Path(str(config.hydra.sweep.dir))
        given = [str(each) for each in config.hydra.overrides.task]
        _display = Display(LiveSweep(folder, given, total=Total(folder)))
        _display.start()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the last of them, and give the screen back."""
        end(told=True)


def end(told: bool = False) -> None:
    """Give the screen back, where a multirun has it; for one that an error or a signal ended too.

    How far it came is left on the terminal, unless that is `told` otherwise.
    """
    global _display
    if _display is not None:
        display, _display = _display, None
        display.stop()
        if not told:
            display.tell()


class Total:
    """The number of jobs of a sweep, from its `sweep.json` as soon as that has one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sweep.json"
        self._known: int | None = None

    def __call__(self) -> int | None:
        """Return the number, or None as long as it is not known."""
        if self._known is None:
            with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
                total = json.loads(self._path.read_bytes()).get("total")
                self._known = total if isinstance(total, int) else None
        return self._known


class Display:
    """A thread that looks at a sweep's jobs and shows them, from `start` to `stop`."""

    def __init__(self, sweep: LiveSweep) -> None:
        self._sweep = sweep
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="live-table", daemon=True)
        self._terminal: Terminal | None = None
        self._hush = contextlib.ExitStack()
        self._ended_jobs, self._is_prepared = 0, False

    def start(self) -> None:
        """Take the screen."""
        if shows_bars(screen()):
            from trainer.sweep.live_terminal import Terminal

            self._terminal = Terminal()
            self._terminal.open()
        self._hush.enter_context(hushed())
        self._thread.start()

    def stop(self) -> None:
        """Show what ended last, and give the screen back."""
        self._ended.set()
        self._thread.join()
        self._hush.close()

    def tell(self) -> None:
        """Say on a terminal how many jobs came to which end."""
        if self._terminal is not None:
            from trainer.sweep.live_table import sweep_line

            screen().print(sweep_line(self._sweep, self._sweep.clock()))

    def _follow(self) -> None:
        try:
            pause = 0.0
            while not self._ended.wait(pause):
                began = time.thread_time()
                self._show()
                pause = min(max(INTERVAL, (time.thread_time() - began) / SHARE), LONGEST_INTERVAL)
            self._show()
        except Exception:
            # The sweep is worth more than its display.
            log.warning("the jobs are no longer shown", exc_info=True)
        finally:
            if self._terminal is not None:
                self._terminal.close()

    def _prepare(self, more: int) -> None:
        """Have the end of the sweep prepared, as soon as there are jobs to learn from."""
        self._ended_jobs += more
        if self._ended_jobs >= FEWEST_JOBS and not self._is_prepared:
            self._is_prepared = True
            prepare()

    def _show(self) -> None:
        from trainer.sweep.live_table import PAUSED, job_line, table

        ended = self._sweep.poll()
        self._prepare(len(ended))
        if self._terminal is not None:
            columns, lines = self._terminal.size
            unicode = self._terminal.console.encoding.startswith("utf")
            self._terminal.draw(table(self._sweep, columns - 1, lines - 1, unicode))
            return
        # One that was interrupted goes on later, or its sweep has ended and says so.
        for job in ended:
            if job.state == PAUSED:
                continue
            screen().print(job_line(job, self._sweep.total), soft_wrap=True)
