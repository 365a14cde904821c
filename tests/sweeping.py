"""What the tests of launchers have in common: a small sweep, and what its folders hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import Finished, spawn

# Not the same for two runs of one and the same job.
_OF_THE_MOMENT = ("seconds",)

SMALL = (
    "model.hidden=[4]",
    "training.epochs=2",
    "training.steps_per_epoch=4",
    "device.threads=1",
    "logger.curves=null",
    "logger.pictures=null",
    "hydra.sweep.dir=sweep",
)
WAIT = 240.0
NOTE = "+callbacks.note._target_=noting.Note"
_NOTING = '''
import json, os, signal
from pathlib import Path

class Note:
    """Writes what its process is, and ends it where it is told to."""

    def __init__(self, dies_at=None, once=None):
        self.dies_at, self.once = dies_at, once

    def on_train_start(self, loop):
        told = {"process": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}
        with Path("notes.jsonl").open("a") as file:
            file.write(json.dumps(told) + chr(10))

    def on_epoch_end(self, loop, record):
        rate = record["hyperparameter/learning_rate"]
        if self.dies_at is None or abs(rate - self.dies_at) > 1e-6:
            return
        if self.once is None or not Path(self.once).exists():
            Path(self.once or "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, loop):
        pass

    def state(self):
        return {}

    def load_state(self, state):
        pass
'''


def sweep(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run a multirun in a process of its own, from an empty folder, and wait for it."""
    process = spawn("-m", *SMALL, *arguments, cwd=folder, env_add=env)
    try:
        out, err = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    return Finished(process.returncode, out, err, folder / "sweep")


def job(folder: Path, number: int) -> Path:
    """Return the folder of a sweep's job."""
    (found,) = (folder / "sweep").glob(f"{number}_*")
    return found


def summary(folder: Path, number: int) -> dict[str, Any]:
    """Return the summary of a sweep's job."""
    content: dict[str, Any] = json.loads((job(folder, number) / "summary.json").read_text())
    return content


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of a sweep's jobs, but for their times."""
    return {
        path.parent.name: [
            {key: value for key, value in json.loads(line).items() if key not in _OF_THE_MOMENT}
            for line in path.read_text().splitlines()
        ]
        for path in sorted((folder / "sweep").glob("*/metrics.jsonl"))
    }


def is_importable(module: str) -> bool:
    """Tell whether a package can be imported, without importing it here: some leave threads behind."""
    command = [sys.executable, "-c", f"import {module}"]
    return not subprocess.run(command, capture_output=True, env=os.environ).returncode


def write_noting(folder: Path) -> None:
    """Put the callback into the folder that a sweep starts in: it notes its process, and can end it."""
    (folder / "noting.py").write_text(_NOTING)


def notes(folder: Path) -> list[dict[str, Any]]:
    """Return what the callback has noted."""
    return [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
