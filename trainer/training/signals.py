"""SIGINT, SIGTERM and SIGUSR1, turned into a wish that the loop sees between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(BaseException):
    """A signal ended what need not be finished; not an `Exception`, which would be a failure."""


class StopSignals:
    """A context in which a signal to stop is noted, and a SIGINT after it interrupts at once.

    SIGINT and SIGTERM are such signals, and SIGUSR1, by which a scheduler warns of a SIGKILL to come.

    Attributes
    ----------
    received : signal.Signals or None
        The first signal that came. Where the context is not entered on the main thread, none ever does.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._is_at_once = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def receive(self, number: signal.Signals) -> None:
        """Take a wish to stop that came another way, on any thread, as if it were this signal."""
        main = threading.main_thread().ident
        if self._previous and main is not None:
            signal.pthread_kill(main, number)
        else:
            self.received = number

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end what is done within by `Interrupted`: what has nothing to save, as compiling."""
        self._is_at_once = True
        try:
            self._raise_received()
            yield
        finally:
            self._is_at_once = False

    def until_one_comes(self, items: Iterable[Item]) -> Iterator[Item]:
        """Give items as long as no signal comes, and raise `Interrupted` then."""
        for item in items:
            self._raise_received()
            yield item

    def _raise_received(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received.name)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if self._is_at_once:
            raise Interrupted(self.received.name)
