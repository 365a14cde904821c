"""Measure the time from the start of the process to the end of the first training step.

By hand: scripts/measure-start [--rounds N] [overrides]. In each round, each kind of cache has its turn:

empty     nothing was compiled before
full      the same command has run
prebuilt  `trainer-doctor --build` has run, the command has not

What the compiler is called for is counted by a program of its name that stands before it on the path. The
operating system's own cache of files is left as it is; the checkout's bytecode is written first, as an
installation does. Beside the clock stand the seconds of a processor that the process and its compilers took:
the steadier number on a machine that others use too.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
_STARTED = "TRAINER_START"
_COUNTING = '#!/bin/sh\necho "$@" >> "{log}"\nexec "{compiler}" "$@"\n'

# What is measured: the command itself, and a line when its first step is done.
_CHILD = f"""
import os, resource, time
from trainer import collecting

collecting.put_off()  # as `trainer.__main__` does
from trainer import cli, runtime

prepare = runtime.prepare

def prepare_and_watch(**device):
    machine = prepare(**device)
    from trainer.training import TrainingStep
    step = TrainingStep.__call__

    def first(self, *batch):
        result = step(self, *batch)
        seconds = time.clock_gettime(time.CLOCK_MONOTONIC) - float(os.environ["{_STARTED}"])
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(each.ru_utime + each.ru_stime for each in used)
        print(f"\\nfirst step after {{seconds}} {{cpu}}", flush=True)
        TrainingStep.__call__ = step
        return result

    TrainingStep.__call__ = first
    return machine

runtime.prepare = prepare_and_watch
cli.main()
"""


@dataclass
class Measured:
    """What the rounds gave for one kind of cache."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    modules: list[int] = field(default_factory=list)


class Bench:
    """A folder for all that a measurement makes, with the compiler that counts."""

    def __init__(self, folder: Path, overrides: Sequence[str]) -> None:
        self.folder, self.overrides = folder, overrides
        self.log, self.runs = folder / "calls", 0
        programs = folder / "bin"
        programs.mkdir()
        for name in ("g++", "clang++"):
            compiler = shutil.which(name)
            if compiler is not None:
                program = programs / name
                program.write_text(_COUNTING.format(log=self.log, compiler=compiler))
                program.chmod(0o755)
        for package in ("trainer", "hydra_plugins"):
            compileall.compile_dir(ROOT / package, quiet=2)
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def environment(self, cache: Path) -> dict[str, str]:
        """Return what a process is started with that uses this cache."""
        return {**os.environ, "PATH": self.path, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}

    def prebuild(self, cache: Path) -> None:
        """Fill a cache as an installation does."""
        command = [sys.executable, "-m", "trainer.commands.doctor", "--build", "--size", "1"]
        subprocess.run(command, cwd=self.folder, env=self.environment(cache), check=True, capture_output=True)

    def measure(self, cache: Path, into: Measured) -> None:
        """Start the command once."""
        self.runs += 1
        self.log.write_text("")
        environment = self.environment(cache)
        environment[_STARTED] = str(time.clock_gettime(time.CLOCK_MONOTONIC))
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *self.overrides, f"hydra.run.dir={self.folder}/{self.runs}"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        told = [line for line in done.stdout.splitlines() if line.startswith("first step after ")]
        if done.returncode != 0 or not told:
            raise SystemExit(f"the command failed: {done.stderr.strip()}")
        calls = self.log.read_text().splitlines()
        seconds, cpu = map(float, told[0].split()[-2:])
        into.seconds.append(seconds)
        into.cpu.append(cpu)
        into.calls.append(len(calls))
        into.modules.append(sum("mod.cpp" in call for call in calls))


def main() -> None:
    """Measure in turns, and print a table."""
    parser = argparse.ArgumentParser(prog="scripts/measure-start", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    options, overrides = parser.parse_known_args()
    measured = {name: Measured() for name in ("empty", "full", "prebuilt")}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), [*overrides, "training.epochs=1"])
        for number in range(options.rounds):
            caches = {kind: bench.folder / f"cache-{kind}-{number}" for kind in ("empty", "prebuilt")}
            bench.prebuild(caches["prebuilt"])
            bench.measure(caches["empty"], measured["empty"])
            bench.measure(caches["empty"], measured["full"])
            bench.measure(caches["prebuilt"], measured["prebuilt"])
            for cache in caches.values():
                shutil.rmtree(cache)
    print(
        "| compile cache | first step after, s: median (range) | of a processor | compiler calls | modules |"
    )
    print("| --- | --- | --- | --- | --- |")
    for kind, found in measured.items():
        clock, cpu = map(_spread, (found.seconds, found.cpu))
        print(f"| {kind} | {clock} | {cpu} | {max(found.calls)} | {max(found.modules)} |")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
