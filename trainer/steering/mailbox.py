"""The folder `steering/` as the run uses it: no trouble with a file there reaches the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer.steering import files
from trainer.steering.messages import Answer, Change, Malformed, Request, State
from trainer.steering.replay import unmade

log = logging.getLogger(__name__)

Reply = Callable[[Answer], None]
GONE = -1


class Mailbox:
    """Requests in, answers, the state and the history out; what fails is warned of once.

    Parameters
    ----------
    folder : Path
        The run's folder, which exists.
    keep : bool
        Whether the history and the requests of the run's earlier life are kept.
    """

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self.folder = folder / files.FOLDER
        self._path = str(self.folder)
        self._stuck: set[str] = set()
        self._warned: set[str] = set()
        with self.tolerating("steering/ cannot be made"):
            self.folder.mkdir(exist_ok=True)
            files.clear(self.folder, forget=not keep)

    def date(self) -> int:
        """Return when the folder was last changed, in nanoseconds, or `GONE`."""
        try:
            return os.stat(self._path).st_mtime_ns  # noqa: PTH116 (Path takes twice the time)
        except OSError:
            return GONE

    def restore(self) -> None:
        """Make the folder again where it is gone."""
        with self.tolerating("steering/ is gone, so that the run cannot be steered"):
            self.folder.mkdir()

    def take(self) -> Iterator[tuple[Request, Reply]]:
        """Give the requests that wait, in their order, each to be answered; it is removed with that.

        What cannot be read is moved to `steering/refused/` with a warning.
        """
        waiting: Sequence[tuple[str, str | None]] = ()
        with self.tolerating("steering/ cannot be read"):
            waiting = files.requests(self.folder)
        for name, token in waiting:
            if name not in self._stuck:
                yield from self._open(name, token)

    def _open(self, name: str, token: str | None) -> Iterator[tuple[Request, Reply]]:
        try:
            if token is None:
                raise Malformed("its name is none of a request")
            request = Request.parse(files.read_json(self.folder / name))
        except FileNotFoundError:
            return
        except (Malformed, OSError) as error:
            self._set_aside(name, error)
            return
        yield request, lambda answer: self._reply(name, token, answer)

    def note(self, change: Change) -> None:
        """Append a change to the history."""
        with self.tolerating("steering/history.jsonl cannot be written"):
            files.append_line(self.folder / files.HISTORY, change.as_json())

    def unmade(self, made: Sequence[Change], steps: int) -> list[Change]:
        """Return the history's changes that a run resumed after `steps` updates has yet to make."""
        with self.tolerating("steering/history.jsonl cannot be read"):
            try:
                return unmade(files.read_lines(self.folder / files.HISTORY), made, steps)
            except FileNotFoundError:
                pass
        return []

    def show(self, state: State) -> None:
        """Write the run's state."""
        with self.tolerating("steering/state.json cannot be written"):
            files.write_json(self.folder / files.STATE, state.as_json())

    @contextmanager
    def tolerating(self, trouble: str) -> Iterator[None]:
        """Go on where a file cannot be had, with one warning: a run is worth more than its steering."""
        try:
            yield
        except (OSError, Malformed) as error:
            if trouble not in self._warned:
                log.warning("%s (%s)", trouble, _reason(error))
            self._warned.add(trouble)

    def _reply(self, name: str, token: str, answer: Answer) -> None:
        with self.tolerating("an answer in steering/ cannot be written"):
            files.write_json(files.answer_of(self.folder, token), answer.as_json())
        try:
            (self.folder / name).unlink()
        except OSError:
            self._stuck.add(name)

    def _set_aside(self, name: str, error: Exception) -> None:
        log.warning("steering/%s is ignored: %s", ascii(name)[1:-1], _reason(error))
        if not files.set_aside(self.folder, name):
            self._stuck.add(name)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
