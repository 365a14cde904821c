"""What a job's folder holds of the run that is asked for, and what is left to do of it."""

from __future__ import annotations

import enum
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer.checked_yaml import read_plain
from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock, is_held
from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.sweep.folders import LEFT_BY_RUNS
from trainer.sweep.job_files import leaves
from trainer.sweep.space import EPOCHS, is_of_the_machine

SUMMARY = "summary.json"
_BEGUN = Path(".hydra", "begun.yaml")
_REFUSED = Path(".hydra", "refused.json")
# A run that diverges does so each time.
_ENDED = ("completed", "stopped_early", "diverged")
_MOST_SHOWN = 3
_FIND = "find_learning_rate"
# libyaml's is ten times as fast, and not everywhere.
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Way(enum.Enum):
    """What is left to do of a job."""

    ANEW = "all of it"
    GO_ON = "what follows its newest checkpoint"
    NOTHING = "nothing"


class Foreign(UsageError):
    """The folder holds another run than the one that is asked for."""


@dataclass(frozen=True)
class Begun:
    """The run that a job's folder was given to, as it was asked for at its beginning.

    Hydra writes the configuration of a job anew each time that it is started; this stays beside it.

    Attributes
    ----------
    configuration : mapping
        The composed configuration, its interpolations unresolved.
    overrides : sequence of str
        The job's.
    """

    configuration: Mapping[str, Any]
    overrides: Sequence[str]

    @classmethod
    def read(cls, folder: Path) -> Begun | None:
        """Return what a folder was given to; None where that is not said.

        Raises
        ------
        UsageError
            Where what says it is damaged.
        """
        path = folder / _BEGUN
        if not path.exists():
            return None
        try:
            content = read_plain(path)
            return cls(dict(content["configuration"]), list(content["overrides"]))
        except (UsageError, ValueError, TypeError, KeyError) as error:
            raise Foreign(
                f"{path} is damaged, so that nothing says whether {folder} holds this job: delete the folder "
                "to have it run anew"
            ) from error

    def write(self, folder: Path) -> None:
        """Keep what the folder is given to."""
        content = {"configuration": self.configuration, "overrides": self.overrides}
        write_atomically(folder / _BEGUN, yaml.dump(content, Dumper=_Dumper, sort_keys=False).encode())

    def way(self, folder: Path) -> Way:
        """Return what is left to do of this run in its folder, and give the folder to it.

        A run that has ended is done, unless it is to train more epochs now; one that was interrupted or
        killed goes on; one that failed, or never began, is run from its beginning.

        Raises
        ------
        UsageError
            Where the folder holds another run; the message names what differs.
        """
        known = Begun.read(folder)
        if known is None:
            if any((folder / name).exists() for name in LEFT_BY_RUNS):
                raise Foreign(
                    f"{folder} holds a run, and nothing says whether it is this job: choose another "
                    "hydra.sweep.dir, or move it away to have the job run anew"
                )
            self.write(folder)
            return Way.ANEW
        found = self._differences(known)
        if found:
            raise Foreign(f"{folder} holds another run: {_listed(found)}; choose another hydra.sweep.dir")
        grows = _epochs(self) > _epochs(known)
        way = _way(folder, self.configuration.get("task"), grows)
        if way is not Way.NOTHING and self != known:
            self.write(folder)
        return way

    def _differences(self, known: Begun) -> list[str]:
        now, then = dict(leaves(self.configuration)), dict(leaves(known.configuration))
        found = []
        for key in dict.fromkeys([*then, *now]):
            before, after = repr(then.get(key)), repr(now.get(key))
            if before != after and not is_of_the_machine(key) and key != EPOCHS:
                found.append(f"{key} is {before} there, and {after} is asked for")
        return found


def way_of_member(folder: Path, until: int) -> Way:
    """Return what is left to do of a population's member, whose slice ends with the epoch `until`.

    Without its state it begins anew, whatever it was asked for before. One that diverges does so each time.
    """
    summary = read_summary(folder)
    status = summary.get("status")
    if status == "diverged" or (status != "failed" and summary.get("epochs", 0) >= until):
        return Way.NOTHING
    return Way.GO_ON if _has_checkpoint(folder) else Way.ANEW


def clear(folder: Path) -> None:
    """Take away what a run that failed has left, but for its log.

    Raises
    ------
    UsageError
        Where a process works on the folder.
    """
    if not any((folder / name).exists() for name in LEFT_BY_RUNS):
        return
    with RunLock(folder):
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        for name in ("metrics.jsonl", SUMMARY):
            (folder / name).unlink(missing_ok=True)


def note_failure(folder: Path, message: str, status: int) -> None:
    """Say in a job's summary why it has failed: also where it failed before it trained.

    A state that is there stays to be gone on from. Where another process works on the folder, the summary is
    that one's; where the folder holds another run, that is noted elsewhere.

    Parameters
    ----------
    folder : Path
        The job's.
    message : str
        What a person is told.
    status : int
        With which a run of its own would have ended.
    """
    summary = dict(read_summary(folder))
    began = "interrupted" if _has_checkpoint(folder) else "failed"
    told = {"status": summary.pop("status", began), **summary, "error": message, "exit_status": status}
    try:
        with RunLock(folder):
            write_atomically(folder / SUMMARY, (to_json(told, indent=2) + "\n").encode())
    except (UsageError, RunError, OSError):
        # The log has the message.
        return


def note_refusal(folder: Path, message: str, status: int) -> None:
    """Say beside a run why its folder was refused to a job."""
    write_atomically(folder / _REFUSED, to_json({"error": message, "exit_status": status}).encode())


def read_refusal(folder: Path) -> Mapping[str, Any]:
    """Return why the folder was refused to its job; empty where it was not."""
    return _read_object(folder / _REFUSED)


def forget_refusal(folder: Path) -> None:
    """Forget it: the job is begun once more."""
    (folder / _REFUSED).unlink(missing_ok=True)


def read_summary(folder: Path) -> Mapping[str, Any]:
    """Return the content of a run's summary; empty where there is none, or it is damaged."""
    return _read_object(folder / SUMMARY)


def leave_unbegun(folder: Path) -> None:
    """Take away what Hydra has written for a job that is not to begin."""
    if Path(folder / _BEGUN).exists() or any((folder / name).exists() for name in LEFT_BY_RUNS):
        return
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (folder / ".hydra" / name).unlink(missing_ok=True)
    for path in (folder / ".hydra", folder):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _way(folder: Path, task: Any, grows: bool) -> Way:
    status = read_summary(folder).get("status")
    if task == _FIND:
        return Way.NOTHING if (folder / "learning_rate.json").exists() else Way.ANEW
    if status in _ENDED and not is_held(folder):
        return Way.GO_ON if grows and status != "diverged" else Way.NOTHING
    return Way.GO_ON if status != "failed" and _has_checkpoint(folder) else Way.ANEW


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step-*"))


def _epochs(begun: Begun) -> int:
    training = begun.configuration.get("training")
    epochs = training.get("epochs") if isinstance(training, Mapping) else None
    return epochs if isinstance(epochs, int) else 0


def _listed(found: Sequence[str]) -> str:
    more = f"; and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return "; ".join(found[:_MOST_SHOWN]) + more


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
