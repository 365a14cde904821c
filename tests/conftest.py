"""What several tests arrange alike. Theano is made ready here, before any test module imports it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainer import runtime

runtime.prepare()

import theano  # noqa: E402 (made ready by now)

ROOT = Path(__file__).parent.parent
MNIST = ROOT.parent / "shared" / "data" / "mnist"

needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"the MNIST files are not in {MNIST}")


@pytest.fixture(autouse=True)
def logging_as_pytest_has_it() -> Iterator[None]:
    """Take away what a run in this process has set up for its log: it would write to the run's folder on."""
    _reset_logging()
    yield
    _reset_logging()


def _reset_logging() -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.WARNING)


@dataclass
class Finished:
    """What a command left: its exit status, what it printed, and its run's folder."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""
        content: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return content

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Finished]:
    """Run the command `trainer` in this process, from an empty folder."""
    from trainer import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*arguments: str, folder: str = "run") -> Finished:
        single = not any(word in ("-m", "--multirun") or word.startswith("resume=") for word in arguments)
        where = (f"hydra.run.dir={folder}",) if single else ()
        monkeypatch.setattr(sys, "argv", ["trainer", *arguments, *where])
        capfd.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
        captured = capfd.readouterr()
        return Finished(status, captured.out, captured.err, tmp_path / folder)

    return call


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """CUDA's first device, of the stand-in in `tests.cuda_stand_in`."""
    from tests.devices import cuda

    return cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Theano compute in Python, without the seconds that its compiler takes for each new graph."""
    mode = theano.Mode(linker="py", optimizer="fast_compile")
    monkeypatch.setattr(theano.compile.mode, "instantiated_default_mode", mode)
    monkeypatch.setattr(runtime, "verify", lambda function: None)


def spawn(
    *arguments: str, cwd: Path, env_add: Mapping[str, str] | None = None, start_new_session: bool = False
) -> subprocess.Popen[str]:
    """Start the command `trainer` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env_add or {})},
        start_new_session=start_new_session,
    )
