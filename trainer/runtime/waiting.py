"""One process at a time compiles into a cache: what the others say, and that none waits in vain."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

_LOGGER = "theano.gof.compilelock"
_MANUALLY = "To manually release the lock, delete "
_PROCESS = re.compile(r"process '(\d+)'")


class _InOurWords(logging.Filter):
    """Says itself what Theano's lock says in two lines of INFO, which a handler of Theano would print too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say what a record means, if that tells anybody anything."""
        said = record.getMessage()
        found = _PROCESS.search(said)
        whose = f"process {found[1]}" if found else "another process"
        if said.startswith("Waiting"):
            log.info("the compile cache is in use by %s, which compiles too: waiting for it", whose)
        elif said.startswith(_MANUALLY):
            log.info("where no such process is at work, delete %s", said.removeprefix(_MANUALLY))
        elif said.startswith("Overriding existing lock by dead"):
            log.info("the compile cache was locked by %s, which is dead: taken over", whose)
        elif said.startswith("Overriding"):
            log.warning("the compile cache was locked by %s for too long: taken over", whose)
        elif not said.startswith("Refreshing"):
            log.warning("the compile cache's lock: %s", said)
        return False


def let_go_after_failures() -> None:
    """Let a process that could not compile something give the lock back, though it lives on."""
    from theano.gof import compilelock

    @contextmanager
    def lock_ctx(lock_dir: str | None = None, keep_lock: bool = False, **options: Any) -> Iterator[None]:
        compilelock.get_lock(lock_dir=lock_dir, **options)
        try:
            yield
        except BaseException:
            compilelock.release_lock()
            raise
        if not keep_lock:
            compilelock.release_lock()

    compilelock.lock_ctx = lock_ctx


def say_for_whom() -> None:
    """Let a wait for the compile cache be told once, with the process that holds it and its lock."""
    theirs = logging.getLogger(_LOGGER)
    if not any(isinstance(known, _InOurWords) for known in theirs.filters):
        theirs.addFilter(_InOurWords())
