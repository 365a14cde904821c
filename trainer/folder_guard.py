"""A run's folder made again where somebody deleted it under the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock
from trainer.loggers.atomic import write_atomically

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class FolderGuard:
    """Looks, after updates and before a run's last files, whether the folder is still there.

    Where it was deleted, it is made and locked again, with what was in `.hydra/` and `data.json`, and a
    warning says what is lost. Where that cannot be done, one warning says so, and the run goes on.

    Parameters
    ----------
    lock : RunLock
        The lock on the folder; its file tells whether the folder is the one that the run began in.
    begin_again : callable
        Has the rest of the folder written again: the best weights, and the present state.
    """

    def __init__(self, lock: RunLock, begin_again: Callable[[], None]) -> None:
        self._lock = lock
        self._begin_again = begin_again
        self._next_look = 0.0
        self._warned = False
        kept = [*(lock.folder / ".hydra").glob("*.yaml"), lock.folder / "data.json"]
        self._kept = {path.relative_to(lock.folder): path.read_bytes() for path in kept if path.is_file()}

    def __call__(self, loop: object) -> None:
        """Look where the last look is a second ago; called by the loop after each update."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self.look()

    def look(self) -> None:
        """Make the folder again where it is gone."""
        if self._lock.is_there():
            return
        folder = self._lock.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.renew()
            for path, content in self._kept.items():
                self._restore(folder / path, content)
        except (OSError, RunError, UsageError) as error:
            if not self._warned:
                self._warned = True
                log.warning("%s was deleted and cannot be made again (%s)", folder, error)
            return
        self._warned = False
        log.warning(
            "%s was deleted while the run works on it: it is made again, and lacks what was saved before",
            folder,
        )
        self._begin_again()

    def _restore(self, path: Path, content: bytes) -> None:
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, content)
