"""The checkpoints of a run: which are kept, and which is the newest that can be trusted."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from trainer.checkpoints.exact_json import to_exact_json
from trainer.checkpoints.files import (
    Checkpoint,
    Damaged,
    State,
    read_checkpoint,
    read_is_best,
    take_along,
    write_checkpoint,
)
from trainer.loggers.atomic import clear_leftovers, flush_folder

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{9,18})")
_HIDDEN = re.compile(r"\.(step-\d{9,18})\.(part|old)")


class CheckpointStore:
    """The folder in which the checkpoints of a run lie.

    Reading needs nothing else; only the process that holds the run's lock may call `prepare`, `save` and
    `restore_files`.

    Parameters
    ----------
    folder : Path
        `RUN/checkpoints`; made at the first saving, where the run's folder is there.
    keep : int, default 2
        How many of the newest are kept, at least 1; the best is kept besides.
    files : sequence of str, default ("best.safetensors",)
        The weights files in the folder that each checkpoint takes along.

    Raises
    ------
    ValueError
        Where none shall be kept.
    """

    def __init__(self, folder: Path, keep: int = 2, files: Sequence[str] = ("best.safetensors",)) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least one checkpoint must be kept")
        self.folder = folder
        self.keep = keep
        self.files = tuple(files)
        self._best: dict[int, bool] = {}

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints that are there, sound or not, in their order."""
        if not self.folder.is_dir():
            return []
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(name[1]) for name in names if name)

    def prepare(self) -> None:
        """Clear away what a killed process left half-done: before the first saving."""
        if not self.folder.is_dir():
            return
        clear_leftovers(self.folder)
        for path in sorted(self.folder.iterdir()):
            hidden = _HIDDEN.fullmatch(path.name)
            if hidden is None:
                continue
            place = self.folder / hidden[1]
            if hidden[2] == "old" and not place.exists():
                # It was moved aside for a newer state of the same step, which never came.
                path.rename(place)
            else:
                _delete(path)

    def save(self, state: State, step: int, is_best: bool = False) -> Path:
        """Write a checkpoint whole, then delete those that are no longer to be kept.

        Those of later steps are deleted too: the run went back behind them.

        Parameters
        ----------
        state : State
            Nobody may write to its arrays meanwhile.
        step : int
            How many updates were made.
        is_best : bool
            Whether the best epoch so far has just ended.

        Returns
        -------
        Path
            The checkpoint's folder.

        Raises
        ------
        OSError
            The disk is full, or the folder cannot be written. The checkpoints that were there still are.
        """
        path = self.write(state, to_exact_json(state.values), step, is_best)
        self.clean(step)
        return path

    def write(self, state: State, values: str, step: int, is_best: bool) -> Path:
        """Write a checkpoint as `save` does, of values that are JSON already, and delete none."""
        self.folder.mkdir(exist_ok=True)
        place = self.place(step)
        part = place.with_name(f".{place.name}.part")
        files = [path for name in self.files if (path := self.folder / name).is_file()]
        try:
            _delete(part)
            write_checkpoint(part, state.tensors, values, step=step, is_best=is_best, files=files)
            self._put_in_place(part, place)
        except BaseException:
            # What is left fills a disk that is full as it is.
            with contextlib.suppress(OSError):
                _delete(part)
            raise
        self._best[step] = is_best
        return place

    def clean(self, step: int) -> None:
        """Delete what is no longer to be kept, now that there is a sound checkpoint of this step."""
        steps = self.steps()
        earlier = [number for number in steps if number <= step]
        kept = set(earlier[-self.keep :])
        kept.update([number for number in earlier if self._is_best(number)][-1:])
        for number in steps:
            if number not in kept:
                place = self.place(number)
                # Hidden before it is deleted, so that a deletion that is cut short leaves nothing to warn of.
                hidden = place.with_name(f".{place.name}.part")
                _delete(hidden)
                place.rename(hidden)
                _delete(hidden)
                self._best.pop(number, None)

    def newest_sound(self, before: int | None = None) -> Checkpoint | None:
        """Read the newest checkpoint that is sound in every byte; None where there is none.

        One that is damaged is named in a warning with what is wrong, and passed over. Where only
        weights files beside the state are damaged (their links share one content), and no older checkpoint
        has sound ones, the newest sound state is returned without them.

        Parameters
        ----------
        before : int, optional
            Only those of earlier steps than this.
        """
        flawed = None
        for step in reversed(self.steps()):
            if before is not None and step >= before:
                continue
            place = self.place(step)
            try:
                checkpoint = read_checkpoint(place)
                if checkpoint.step != step:
                    raise Damaged(f"state.json is of step {checkpoint.step}")
                if not checkpoint.flaws:
                    return checkpoint
                log.warning("%s lacks weights of earlier: %s", place, "; ".join(checkpoint.flaws))
                flawed = flawed or checkpoint
            except Damaged as damage:
                log.warning("%s is damaged and passed over: %s", place, damage)
            except MemoryError:
                log.warning("%s is passed over: there is not enough memory to read it", place)
        return flawed

    def restore_files(self, checkpoint: Checkpoint) -> None:
        """Put the run's weights files back as they were at a checkpoint; those that it lacks are deleted.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        for name in self.files:
            path = self.folder / name
            if name not in checkpoint.files:
                path.unlink(missing_ok=True)
                continue
            beside = self.folder / f".{name}.0.part"
            beside.unlink(missing_ok=True)
            take_along(checkpoint.files[name], beside)
            beside.replace(path)
            # Renaming one name of a file over another of the same file leaves both.
            beside.unlink(missing_ok=True)
        flush_folder(self.folder)

    def _put_in_place(self, part: Path, place: Path) -> None:
        old = place.with_name(f".{place.name}.old")
        if place.exists() or place.is_symlink():
            _delete(old)
            place.rename(old)
        try:
            part.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise
        flush_folder(self.folder)
        _delete(old)

    def place(self, step: int) -> Path:
        """Return where the checkpoint of a step lies, or would."""
        return self.folder / f"step-{step:09d}"

    def _is_best(self, step: int) -> bool:
        if step not in self._best:
            self._best[step] = read_is_best(self.place(step))
        return self._best[step]


def _delete(path: Path) -> None:
    """Delete whatever lies there, never through a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
