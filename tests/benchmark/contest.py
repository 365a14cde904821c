"""Contestants, each a process that stays, asked in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Contestant:
    """A framework in a process of its own.

    Parameters
    ----------
    command : sequence of str
        What starts it.
    log : Path
        Where what it prints goes.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        ours = command[0] == sys.executable
        hidden = set() if ours else {"PYTHONPATH"}
        hidden |= {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"}
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        self._log = log.open("a")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )

    def ask(self, work: str, form: str = "", count: int = 0) -> Any:
        """Give its answer: seconds, or None where it cannot."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"work": work, "form": form, "count": count}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a contestant ended while it worked on {work}: it may lack memory")
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._log.close()


def commands(threads: int, folder: Path) -> dict[str, list[str]]:
    """Give the commands of those that are at hand: `ours`, `torch`, `jax`."""
    arguments = [str(threads), str(folder)]
    found = {"ours": [sys.executable, "-m", "tests.benchmark.ours", *arguments]}
    for interpreter in filter(None, os.environ.get("TRAINER_PEERS", "").split(os.pathsep)):
        for name in ("torch", "jax"):
            if name not in found and has(interpreter, name):
                found[name] = [interpreter, str(HERE / f"{name}_peer.py"), *arguments]
    return found


def has(interpreter: str, module: str) -> bool:
    """Tell whether an interpreter has a module."""
    looking = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({module!r}))"
    return subprocess.run([interpreter, "-c", looking], check=False).returncode == 0
