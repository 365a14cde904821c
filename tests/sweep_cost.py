"""Measure what a job of a sweep costs beside its training, and a sweep against as many processes.

By hand: scripts/measure-sweep [jobs [overrides...]], 64 jobs by default, which differ in seed and learning
rate. Half of the processes, one after another, run before the sweep and half after it, all with a full
compile cache. It prints

- the time from a job's beginning to the next one's, less that of its training: the median over all jobs but
  the first, which compiles; once less the whole training loop (steps, evaluations, records, checkpoints),
  and once less the compiled steps alone;
- the time of the whole sweep, its pictures, table and page included, and of all processes;

each on the clock, and in seconds of a processor, which another program beside changes less. About five
minutes for 64 jobs on a quiet machine; the files go to TMPDIR.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RATES = ("0.001", "0.002", "0.005", "0.01")
STAMPS = "stamps.json"
CLOCKS = {"clock": time.perf_counter, "processor": time.process_time}


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock, and of a processor, all processes that were started included."""

    clock: float
    processor: float

    @classmethod
    def by(cls, command: Sequence[str], folder: Path) -> Taken:
        """Run a command and return what it takes."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the table."""
    jobs = int(arguments[0]) if arguments else 64
    if jobs < len(RATES):
        raise SystemExit(f"give at least {len(RATES)} jobs")
    overrides = list(arguments[1:])
    seeds = [str(seed) for seed in range(jobs // len(RATES))]
    runs = [[f"training.seed={seed}", f"optimizer.learning_rate={rate}"] for seed in seeds for rate in RATES]
    commands = [[sys.executable, "-m", "trainer", *words, *overrides] for words in runs]
    wanted = ["-m", f"training.seed={','.join(seeds)}", f"optimizer.learning_rate={','.join(RATES)}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        Taken.by(commands[0], folder)  # fills the compile cache
        processes = [Taken.by(command, folder) for command in commands[: len(runs) // 2]]
        whole = Taken.by([sys.executable, __file__, "--sweep", *wanted, *overrides], folder)
        processes += [Taken.by(command, folder) for command in commands[len(runs) // 2 :]]
        report(json.loads((folder / STAMPS).read_text()), whole, processes)


def sweep(words: Sequence[str]) -> None:
    """Run a sweep in this process, and write when each job began and what its training took."""
    from trainer import cli, runtime

    runtime.prepare()
    from trainer import run
    from trainer.training import Loop, TrainingStep

    stamps: list[dict[str, float]] = []

    def adding(name: str, call: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            before = [read() for read in CLOCKS.values()]
            try:
                return call(*arguments)
            finally:
                for (clock, read), began in zip(CLOCKS.items(), before, strict=True):
                    stamps[-1][f"{name} {clock}"] += read() - began

        return timed

    train = run.train

    def stamped(*arguments: Any, **options: Any) -> Any:
        began = {f"began {clock}": read() for clock, read in CLOCKS.items()}
        stamps.append({**began, **{f"{part} {clock}": 0.0 for part in ("loop", "steps") for clock in CLOCKS}})
        return train(*arguments, **options)

    run.train = stamped
    Loop.run = adding("loop", Loop.run)  # type: ignore[method-assign]
    TrainingStep.__call__ = adding("steps", TrainingStep.__call__)  # type: ignore[method-assign]
    sys.argv = ["trainer", *words]
    try:
        cli.main()
    finally:
        Path(STAMPS).write_text(json.dumps(stamps))


def report(stamps: Sequence[dict[str, float]], whole: Taken, processes: Sequence[Taken]) -> None:
    """Print the table."""

    def costs(*less: str) -> str:
        cells = []
        for clock in CLOCKS:
            # The first job compiles.
            taken = [
                after[f"began {clock}"] - job[f"began {clock}"] - sum(job[f"{part} {clock}"] for part in less)
                for job, after in pairwise(stamps[1:])
            ]
            cells.append(f"{statistics.median(taken):8.3f} {max(taken):8.3f}")
        return "    ".join(cells)

    rows = [[each.clock, each.processor] for each in processes]
    own = "    ".join(f"{statistics.median(each):8.3f} {max(each):8.3f}" for each in zip(*rows, strict=True))
    clock, processor = (sum(each) for each in zip(*rows, strict=True))
    print(f"{len(stamps)} jobs, seconds             clock: median, max   processor: median, max")
    print(f"a job                          {costs()}")
    print(f"a job, less its training loop  {costs('loop')}")
    print(f"a job, less its compiled steps {costs('steps')}")
    print(f"a process of its own           {own}")
    print(f"the sweep                      {whole.clock:8.1f}             {whole.processor:8.1f}")
    print(f"all processes                  {clock:8.1f}             {processor:8.1f}")
    times = [f"{every / once:8.1f}" for every, once in ((clock, whole.clock), (processor, whole.processor))]
    print(f"times as long                  {'             '.join(times)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sweep"]:
        sweep(sys.argv[2:])
    else:
        main(sys.argv[1:])
