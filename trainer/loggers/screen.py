"""The one console that all text on the screen goes through, so that it does not tear the live bars."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import IO, Any, TypeVar, cast

from rich.console import Console
from rich.text import Text

Result = TypeVar("Result")

_hushed = False


@lru_cache(maxsize=1)
def screen() -> Console:
    """Return the program's console, on standard output.

    What the output's encoding has no letter for becomes a question mark: a folder's name must not end a run.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    return Console(file=cast(IO[str], _Output()), highlight=False, markup=False, emoji=False)


class _Output:
    """Standard output as it is at each moment, which may lie in a file on a full disk: a run is worth more.

    What cannot be written waits in Python's own buffer until it can.
    """

    def write(self, text: str) -> int:
        """Write text, or keep it waiting."""
        return self._or_else(lambda out: out.write(text), len(text))

    def flush(self) -> None:
        """Hand on what waits, if that can be."""
        self._or_else(lambda out: out.flush(), None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._now(), name)

    def _now(self) -> Any:
        # Rich puts a proxy in the place of sys.stdout while it draws bars, and writes past it itself.
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)

    def _or_else(self, act: Callable[[Any], Result], otherwise: Result) -> Result:
        try:
            return act(self._now())
        except BrokenPipeError:
            # The reader has gone: there is nobody to show anything to.
            raise
        except OSError:
            return otherwise


def shows_bars(console: Console) -> bool:
    """Return whether bars can be drawn there: on a terminal that moves its cursor.

    `FORCE_COLOR` makes Rich colour a file too, but bars in a file are of no use to anyone.
    """
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


@contextlib.contextmanager
def hushed(quiet: bool = True) -> Iterator[None]:
    """Leave the screen to others: no bars, no rows and no log lines of runs are shown within.

    The jobs of a multirun work like this, in whatever process: one table shows all of them.
    """
    global _hushed
    before, _hushed = _hushed, quiet
    try:
        yield
    finally:
        _hushed = before


def is_hushed() -> bool:
    """Return whether the screen belongs to others (`hushed`)."""
    return _hushed


def shown(line: str, log: logging.Logger) -> None:
    """Log a line that stands on the screen already: it reaches the files, and the screen not twice."""
    log.info("%s", line, extra={"shown": True})


class ScreenHandler(logging.Handler):
    """Shows log records above the live bars: the message alone, with its level where that is not `INFO`.

    Parameters
    ----------
    level : int or str
        The lowest level that is shown.
    console : rich.console.Console, optional
        Where it is shown; the program's own console by default.
    """

    styles = ((logging.ERROR, "bold red"), (logging.WARNING, "yellow"), (logging.INFO, ""), (0, "dim"))

    def __init__(self, level: int | str = logging.NOTSET, console: Console | None = None) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless what it says stands on the screen already or the screen is left to others."""
        if getattr(record, "shown", False) or is_hushed():
            return
        try:
            style = next(style for level, style in self.styles if record.levelno >= level)
            line = Text()
            if record.levelno != logging.INFO:
                line.append(f"{record.levelname.lower()}: ", style)
            line.append(self.format(record))
            (self._console or screen()).print(line, soft_wrap=True)
        except Exception:  # as every logging handler does: a message that fails must not stop the program
            self.handleError(record)
