"""Python's search for objects that nothing reaches, put off while a process starts."""

from __future__ import annotations

import gc

_usual: tuple[int, int, int] | None = None


def put_off() -> None:
    """Have Python search seldom until `as_usual` is called.

    Modules, a configuration and a graph are many objects, which all stay: to look through them again and
    again is a fifteenth of a start. What is larger than most starts is searched still.
    """
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(250_000, 2, 2)


def as_usual() -> None:
    """Have Python search as often as before `put_off`; nothing where that was not called."""
    global _usual
    if _usual is not None:
        gc.set_threshold(*_usual)
        _usual = None
