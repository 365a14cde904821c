"""The two live lines below the table: the run, and the epoch within it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from trainer.loggers.base import Progress
from trainer.loggers.wording import duration

WIDEST = 78  # a window that is made narrower than its lines tears them: most windows are wider than this
SHORTEST_BAR = 8


@dataclass
class Bars:
    """Draws a run's progress as it stands at the moment of drawing.

    Parameters
    ----------
    progress : Progress
        Read only; the loop changes it meanwhile.
    console : rich.console.Console
        Where it will be drawn: its width at that moment, its colours, its alphabet.
    clock : callable
        Seconds of the clock that `Progress.started` was read from.
    """

    progress: Progress
    console: Console
    clock: Callable[[], float] = time.monotonic
    _first_step: int = field(init=False)
    _made: float = field(init=False)

    def __post_init__(self) -> None:
        self._first_step = self.progress.step
        self._made = self.clock()

    def draw(self) -> Text:
        """Return the lines, each shorter than the screen is wide."""
        progress, now = self.progress, self.clock()
        if progress.phase == "compiling" or not progress.started:
            return self._line(f"{progress.phase} {duration(now - self._made)}")
        total = progress.epochs * progress.steps_per_epoch
        in_epoch = max(progress.step - max(progress.epoch - 1, 0) * progress.steps_per_epoch, 0)
        in_epoch = min(in_epoch, progress.steps_per_epoch)
        labels = [
            _label("epoch", progress.epoch, progress.epochs),
            _label("step", in_epoch, progress.steps_per_epoch),
        ]
        broad = max(map(len, labels))
        fractions = [progress.step / max(total, 1), in_epoch / max(progress.steps_per_epoch, 1)]
        notes = [self._pace(now, total), progress.phase]
        length = self._width - broad - max(map(len, notes)) - 4
        if length < SHORTEST_BAR:
            notes[0] = notes[0].partition("  ")[0]
            length = max(self._width - broad - max(map(len, notes)) - 4, 0)
        lines = [
            Text.assemble(label.ljust(broad), "  ", self._bar(fraction, length), "  ", note)
            for label, fraction, note in zip(labels, fractions, notes, strict=True)
        ]
        for line in lines:
            line.truncate(self._width)
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    @property
    def _width(self) -> int:
        return min(self.console.width - 1, WIDEST)

    def _line(self, words: str) -> Text:
        line = Text(words, "dim", no_wrap=True, overflow="crop")
        line.truncate(self._width)
        return line

    def _pace(self, now: float, total: int) -> str:
        """Return the time left and the speed, over all that this process has trained."""
        progress, elapsed = self.progress, now - self.progress.started
        done = progress.step - self._first_step
        if done <= 0 or elapsed <= 0:
            return ""
        left = duration(elapsed / done * max(total - progress.step, 0))
        return f"{left} left  {progress.examples / elapsed:,.0f} examples/s"

    def _bar(self, fraction: float, length: int) -> Text:
        full = round(min(max(fraction, 0.0), 1.0) * length)
        unicode = self.console.encoding.startswith("utf") and not self.console.legacy_windows
        done, ahead = ("━", "─") if unicode else ("#", "-")
        return Text.assemble((done * full, "green"), (ahead * (length - full), "bright_black"))


def _label(word: str, done: int, total: int) -> str:
    return f"{word:5} {done:>{len(str(total))}}/{total}"
