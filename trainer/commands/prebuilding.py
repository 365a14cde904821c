"""What the default command compiles, compiled ahead of its first run: when an image is built, for one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trainer
from trainer.errors import RunError
from trainer.runtime import Choices


def build(choices: Choices) -> float:
    """Run the default command for one step in a folder that is thrown away; the modules stay in the cache.

    Parameters
    ----------
    choices : Choices
        Device, precision, BLAS, compiler and cache.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    RunError
        Where that run fails.
    """
    given = {f"device.{key}": value for key, value in vars(choices).items() if value is not None}
    one_step = {"training.epochs": 1, "training.steps_per_epoch": 1}
    words = [f"{key}={_quoted(value)}" for key, value in {**one_step, **given}.items()]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *words, "hydra.run.dir=run"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": _path()},
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RunError(f"the default command fails ({said[-1].removeprefix('Error: ')})")
    return time.monotonic() - started


def _quoted(value: object) -> str:
    """Write a value as an override that no character in it can end."""
    if not isinstance(value, str):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _path() -> str:
    """Return the folders in which the new process finds this package, and whatever this one was told."""
    own = str(Path(trainer.__file__).parent.parent)
    return os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH", "")]))
