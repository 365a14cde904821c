"""Time whole works beside PyTorch and JAX with Optax, in turns, and write docs/performance.md.

By hand: scripts/benchmark [WORK...] [--rounds N] [--quick] [--threads N] [--date DATE] [--page FILE].
A table of some works, or a quick one, is printed only, unless a page is named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.benchmark.contest import Contestant, commands
from tests.benchmark.data import ROOT, provide
from tests.benchmark.table import OURS, Row, table, write_page
from tests.start_time import Bench, Measured

PAGE = ROOT / "docs" / "performance.md"
FORMS = {"ours": {"": "ours"}, "torch": {"eager": "PyTorch", "compiled": "torch.compile"}, "jax": {"": "JAX"}}


@dataclass(frozen=True)
class Training:
    """A work of training steps: how many a turn, and the operations of a step's matrix products."""

    steps: int
    operations: float


# Forward, gradient of the weights, and gradient of the inputs, which the first layer's need not have.
TRAININGS = {
    "small_mlp": Training(300, 128 * 2 * (2 * 784 * 256 + 3 * 256 * 10)),
    "mnist_mlp": Training(40, 500 * 2 * (2 * 784 * 800 + 3 * 800 * 800 + 3 * 800 * 10)),
    "mnist_cnn": Training(
        8, 500 * 2 * (2 * 576 * 25 * 32 + 3 * 64 * 800 * 32 + 3 * 512 * 256 + 3 * 256 * 10)
    ),
    "char_lstm": Training(12, 64 * 64 * 2 * (3 * 256 * 1024 + 3 * 256 * 65)),
}
WORKS = ("updates", *TRAININGS, "memory", "start")
PRODUCT = 2.0 * 2048**3


class Contest:
    """The contestants that stay from work to work, asked in turns."""

    def __init__(self, threads: int, folder: Path) -> None:
        self.threads, self.folder = threads, folder
        self.commands = commands(threads, folder)
        self._started: dict[str, Contestant] = {}

    def started(self, name: str) -> Contestant:
        """Give a contestant, started when it is first asked for."""
        if name not in self._started:
            self._started[name] = self.fresh(name)
        return self._started[name]

    def fresh(self, name: str) -> Contestant:
        """Start a contestant of its own."""
        return Contestant(self.commands[name], self.folder / "log")

    def close(self) -> None:
        """End them all."""
        for contestant in self._started.values():
            contestant.close()

    def last_words(self) -> str:
        """Give the last line that a contestant printed."""
        lines = (self.folder / "log").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")

    def training(self, work: str, rounds: int) -> Row:
        """Time a work of training steps, and the bare matrix product beside it."""
        training, values = TRAININGS[work], dict[str, list[float]]()
        products: list[float] = []
        turns = [(name, form, title) for name in self.commands for form, title in FORMS[name].items()]
        for number in range(rounds + 1):  # the first is to compile and to warm up
            for name, form, title in list(turns):
                seconds = self.started(name).ask(work, form, training.steps)
                if seconds is None:
                    turns.remove((name, form, title))
                    print(f"{title} could not do {work}: {self.last_words()}", file=sys.stderr)
                elif number:
                    values.setdefault(title, []).append(1000 * seconds / training.steps)
            products.append(self.started("ours").ask("product", count=3) / 3)
        if not values.get(OURS):
            raise SystemExit(f"this program could not do {work}: {self.last_words()}")
        row = Row(work, "ms a step", values)
        speed = training.operations / (row.median(OURS) / 1000)
        row.limit = speed / (PRODUCT / statistics.median(products[1:]))
        return row

    def updates(self, rounds: int, rules: str, sizes: str) -> list[Row]:
        """Time the updates alone, by the program of scripts/measure-updates."""
        command = [sys.executable, "-m", "tests.update_cost", str(rounds), rules, sizes, "json"]
        environment = {**os.environ, "TRAINER_BENCHMARK_THREADS": str(self.threads)}
        rows = []
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        titles = {"ours": OURS, "fused": "PyTorch", "foreach": "PyTorch foreach", "jax": "JAX"}
        for line in told.stdout.splitlines():
            found = json.loads(line)
            values = {
                title: [second * 1e6 for second in found["seconds"][name]]
                for name, title in titles.items()
                if name in found["seconds"]
            }
            rows.append(Row(f"{found['rule']}, {found['size']}", "µs", values, found["share"]))
        return rows

    def memory(self) -> Row:
        """Give the peak memory of training mnist_mlp, each in a fresh process."""
        values = {}
        for name in self.commands:
            form, title = next(iter(FORMS[name].items()))
            contestant = self.fresh(name)
            contestant.ask("mnist_mlp", form, 100)
            values[title] = [contestant.ask("memory") / 2**20]
            contestant.close()
        return Row("memory of mnist_mlp", "MiB", values)

    def start(self, rounds: int) -> list[Row]:
        """Time the default command to its first step, with an empty cache and a full one."""
        empty, full = Measured(), Measured()
        inner = self.folder / "start"
        inner.mkdir()
        bench = Bench(inner, ["training.epochs=1", f"device.threads={self.threads}"])
        for number in range(rounds):
            cache = inner / f"cache-{number}"
            bench.measure(cache, empty)
            bench.measure(cache, full)
            shutil.rmtree(cache)
        return [
            Row("start, empty cache", "s", {OURS: empty.seconds}),
            Row("start, full cache", "s", {OURS: full.seconds}),
        ]

    def limits(self) -> str:
        """Say what the hardware does."""
        ours = self.started("ours")
        ours.ask("product", count=2), ours.ask("copy", count=2)
        product = min(ours.ask("product", count=3) / 3 for _ in range(5))
        copy = min(ours.ask("copy", count=3) / 3 for _ in range(5))
        return f"matrix product {PRODUCT / product / 1e9:.0f} GFLOP/s, copy {2 * 52e6 / copy / 1e9:.1f} GB/s"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}; default: all")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns of each; default: 7, quick 2")
    parser.add_argument("--quick", action="store_true", help="two rules, and few turns")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of each; default: 2")
    parser.add_argument("--date", metavar="DATE", help="to stand above the table")
    parser.add_argument("--page", type=Path, metavar="FILE", help=f"to write; default: {PAGE.name}, if whole")
    options = parser.parse_args()
    for work in options.works:
        if work not in WORKS:
            parser.error(f"WORK {work} is not known; choose of {', '.join(WORKS)}")
    cores = len(os.sched_getaffinity(0))
    if not 1 <= options.threads <= cores:
        parser.error(f"--threads {options.threads}: give 1 to {cores}, the cores that this process may use")
    options.rounds = (2 if options.quick else 7) if options.rounds is None else options.rounds
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: give at least 1")
    return options


def measured(options: argparse.Namespace, folder: Path) -> str:
    """Measure, and write the table and what belongs to it."""
    data = provide(folder)
    contest = Contest(options.threads, folder)
    rows: list[Row] = []
    try:
        for work in options.works or WORKS:
            print(f"{work} …", file=sys.stderr, flush=True)
            if work == "updates":
                quick = ("adam,lion", "1.3 M") if options.quick else ("", "1.3 M,13 M")
                rows += contest.updates(options.rounds, *quick)
            elif work == "memory":
                rows.append(contest.memory())
            elif work == "start":
                rows += contest.start(1 if options.quick else min(options.rounds, 3))
            else:
                rows.append(contest.training(work, options.rounds))
        limits = contest.limits()
    finally:
        contest.close()
    used = [
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("theano", "numpy")),
    ]
    used += [
        _version_of(contest.commands[name][0], name) for name in ("torch", "jax") if name in contest.commands
    ]
    machine = f"{_processor()}, {options.threads} of {os.cpu_count()} cores, {platform.system()}"
    about = [options.date, machine, *used, data, limits, f"{options.rounds} turns: median (lowest–highest)"]
    return f"{'; '.join(filter(None, about))}.\n\n{table(rows)}"


def _version_of(interpreter: str, name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    told = subprocess.run([interpreter, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return f"{name} {told.stdout.strip()}"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and print, and write the page where all was measured."""
    options = arguments()
    # What peers start of themselves keeps to these cores too.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    with tempfile.TemporaryDirectory() as name:
        written = measured(options, Path(name))
    print(written)
    page = options.page or (None if options.works or options.quick else PAGE)
    if page is not None:
        write_page(page, written)


if __name__ == "__main__":
    main()
