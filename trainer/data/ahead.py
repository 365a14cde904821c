"""Items prepared by a thread of their own, some ahead of who takes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


def prepared_ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Give the items of an iterator that a thread advances, up to `depth` items ahead.

    The thread begins with the first item that is asked for. It ends with the last one, and when this iterator
    is closed or forgotten, as a loop does with it on leaving; that waits for the item in the making.

    Parameters
    ----------
    items : iterator
        Used by the thread alone from now on.
    depth : int
        How many items may be ready and not yet taken, at least 1.

    Raises
    ------
    Exception
        What `items` raised, in place of the item that it did not give.
    """
    shelf: _Shelf[T] = _Shelf(depth)
    thread = threading.Thread(target=_fill, args=(shelf, items), name="batches", daemon=True)
    thread.start()
    try:
        yield from iter(shelf.take, None)
    finally:
        shelf.close()
        thread.join()


class _Shelf(Generic[T]):
    """Holds items between the thread that makes them and the one that takes them."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.items: deque[T] = deque()
        self.error: BaseException | None = None
        self.closed = False
        self.changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Wait for room and put an item there; return whether more are wanted."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.items) < self.depth)
            self.items.append(item)
            self.changed.notify_all()
            return not self.closed

    def take(self) -> T | None:
        """Wait for the next item; None after the last one."""
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.closed)
            if self.items:
                item = self.items.popleft()
                self.changed.notify_all()
                return item
            if self.error is not None:
                raise self.error
            return None

    def close(self, error: BaseException | None = None) -> None:
        """Say that no item follows, or that none is wanted."""
        with self.changed:
            self.error = error
            self.closed = True
            self.changed.notify_all()


def _fill(shelf: _Shelf[T], items: Iterator[T]) -> None:
    try:
        for item in items:
            if not shelf.put(item):
                return
    except BaseException as error:
        shelf.close(error)
    else:
        shelf.close()
