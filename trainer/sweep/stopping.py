"""How a signal ends a multirun: the jobs at work save their state, the others are not begun."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

MARK = ".stopped"
_LOOK_SECONDS = 0.3


class Stopped(BaseException):
    """A signal stopped the run after its state was saved; not an `Exception`, so that a sweep stops too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def mark(folder: Path) -> None:
    """Say to the jobs of a sweep, whatever process and machine they are on, that they are to stop."""
    with contextlib.suppress(OSError):
        (folder / MARK).touch()


def is_marked(folder: Path) -> bool:
    """Tell whether the jobs of a sweep are to stop."""
    return (folder / MARK).exists()


def unmark(folder: Path) -> None:
    """Let the jobs of a sweep begin again."""
    (folder / MARK).unlink(missing_ok=True)


@contextlib.contextmanager
def when_marked(folder: Path | None, stop: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Call `stop` once, within, as soon as the jobs of a sweep are to stop; with None, nothing is looked for.

    The sweep's folder is looked at, not the process that launched the job: it may be on another machine, and
    there is none that all launchers have in common.
    """
    if folder is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if is_marked(folder):
                stop(signal.SIGTERM)
                return

    thread = threading.Thread(target=look, name="sweep-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def raise_in_main_thread(number: signal.Signals) -> None:
    """Let a signal reach the main thread, and wake it where it waits."""
    main = threading.main_thread()
    if main.ident is not None and main.is_alive():
        signal.pthread_kill(main.ident, number)
    else:
        os.kill(os.getpid(), number)
