"""Other devices than the CPU, for tests: OpenCL's of this machine, and CUDA's of the stand-in."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests import cuda_stand_in
from tests.conftest import ROOT, Finished
from trainer.runtime import devices


@dataclass(frozen=True)
class Device:
    """A device's name, and what a process needs in its environment to have it."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *command: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a process of its own, which has a device of its own."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **self.environment, **environment},
            capture_output=True,
            text=True,
        )

    def train(self, folder: Path, *overrides: str, **environment: str) -> Finished:
        """Run the command in a process of its own."""
        first = overrides[0].startswith("resume=")
        where = () if first else (f"hydra.run.dir={folder}",)
        done = self.run("trainer", *overrides, *where, cwd=folder.parent, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return Finished(done.returncode, done.stdout, done.stderr, folder)

    def exact(self) -> Device:
        """Return the same, where each array has memory of its own and of its size: libgpuarray keeps none."""
        flags = filter(None, [self.environment.get("THEANO_FLAGS"), "gpuarray.preallocate=-1"])
        return replace(self, environment={**self.environment, "THEANO_FLAGS": ",".join(flags)})

    def computed(self, what: str, *words: str) -> Any:
        """Return what `tests.on_device` computed."""
        done = self.run("tests.on_device", self.name, what, *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


def opencl() -> Device:
    """Return OpenCL's first device; PoCL gives one to machines without a GPU."""
    _require_pygpu()
    name = "opencl0:0"
    if name not in devices.available():
        pytest.skip("pygpu finds no OpenCL device: pocl-opencl-icd is one")
    return Device(name)


def cuda(folder: Path) -> Device:
    """Return CUDA's first device, of a stand-in that is compiled into a folder."""
    _require_pygpu()
    if obstacle := cuda_stand_in.obstacle():
        pytest.skip(obstacle)
    return Device("cuda0", cuda_stand_in.build(folder))


def _require_pygpu() -> None:
    if importlib.util.find_spec("pygpu") is None:
        pytest.skip("pygpu is not installed: scripts/install-gpu brings it")
