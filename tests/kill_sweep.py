"""Kill a sweep again and again, let it go on each time, and compare it with one that was left alone.

By hand: scripts/kill-sweep [--launcher NAME] [--jobs N] [--kills N] [--seed S] [--epochs N]. Both sweeps
train the same small networks. One is killed by SIGKILL, the launcher and all that it has started, at N
moments that the seed draws: while it starts, trains, writes, and at its end. Status 1 says that they left
something different. With --launcher slurm, the jobs of a Slurm cluster are killed with their launcher; where
there is none, one is started on this machine alone (Debian: slurm-wlm, munge).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import slurm
from tests.left_by import differences, left_by

ROOT = Path(__file__).parent.parent
FOLDER = "sweep"
LAUNCHERS: Mapping[str, Sequence[str]] = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "slurm": ("hydra/launcher=slurm", "hydra.launcher.timeout_min=30"),
}
TIMES = ("train_seconds", "compile_seconds")
PATIENCE_SECONDS = 600.0
# The jobs differ in rule, rate and seed, and in what they compile.
COMMON = (
    "model.hidden=[8]",
    "model.dropout=0.2",
    "schedule=cosine",
    "training.batch_size=32",
    "training.checkpoints.every_steps=7",
    "optimizer=sgd,adam",
    "device.threads=1",
    "logger.curves=null",
    "logger.pictures=null",
)


@dataclass
class Life:
    """A life of the sweep: how it ended, and what stood in its folder then.

    Attributes
    ----------
    status : int
        The launcher's exit status; -9 where it was killed.
    done, begun : int
        Jobs with a summary, and jobs with records.
    epochs : int
        Records of all jobs.
    seconds : float
        How long it lasted.
    """

    status: int
    done: int
    begun: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Moment:
    """When a life ends: some seconds after the jobs together have a number of records."""

    epochs: int
    delay: float


class Sweep:
    """A sweep in a folder of its own."""

    def __init__(self, place: Path, launcher: str, jobs: int, epochs: int) -> None:
        place.mkdir()
        self.place, self.folder, self.launcher = place, place / FOLDER, launcher
        seeds = ",".join(map(str, range(1, max(1, jobs // 2) + 1)))
        self._words = (*COMMON, f"training.epochs={epochs}", f"training.seed={seeds}", *LAUNCHERS[launcher])
        self._output = place / "output"

    def live(self, moment: Moment | None = None) -> Life:
        """Begin the sweep, or let it go on, and kill it at a moment, unless it ends before."""
        # Killed before it had begun, it has left nothing to go on with.
        begun = (self.folder / "sweep.json").exists()
        told = (f"sweep.resume={FOLDER}",) if begun else (*self._words, f"hydra.sweep.dir={FOLDER}")
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        started = time.monotonic()
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "trainer", "--multirun", *told],
                cwd=self.place,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,
            )
        try:
            self._follow(process, moment, started)
        finally:
            self._kill(process)
        seconds = time.monotonic() - started
        return Life(process.returncode, len(self.summaries()), len(self._records()), self.epochs(), seconds)

    @property
    def output(self) -> str:
        """What the last life printed."""
        return self._output.read_text(errors="replace")

    def summaries(self) -> list[Path]:
        """Return the summaries of the jobs that have one."""
        return sorted(self.folder.glob("*/summary.json"))

    def epochs(self) -> int:
        """Return how many records the jobs have together."""
        return sum(path.read_bytes().count(b"\n") for path in self._records())

    def jobs(self) -> list[Path]:
        """Return the folders of the jobs."""
        return sorted(path.parent for path in self.folder.glob("*/.hydra"))

    def table(self) -> list[dict[str, str]]:
        """Return the rows of `sweep.csv`, times aside."""
        with (self.folder / "sweep.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]

    def _records(self) -> list[Path]:
        return sorted(self.folder.glob("*/metrics.jsonl"))

    def _follow(self, process: subprocess.Popen[bytes], moment: Moment | None, started: float) -> None:
        since: float | None = None
        while process.poll() is None:
            now = time.monotonic()
            if now - started > PATIENCE_SECONDS:
                raise RuntimeError(f"the sweep does not end:\n{self.output}")
            if moment is not None:
                if since is None and self.epochs() >= moment.epochs:
                    since = now
                if since is not None and now - since >= moment.delay:
                    return
            time.sleep(0.01)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the launcher and all that it has started, and wait until nobody writes any longer."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self.launcher == "slurm":
            kill_slurm_jobs(self.folder)
        end = time.monotonic() + 60
        while any(_is_locked(folder) for folder in self.jobs()):
            if time.monotonic() > end:
                raise RuntimeError(f"a job in {self.folder} was not killed")
            time.sleep(0.02)


def kill_slurm_jobs(folder: Path) -> None:
    """Kill the jobs that Slurm has of a sweep, and wait until it has none."""
    user = ("--user", str(os.getuid()))
    end = time.monotonic() + 120
    while subprocess.run(("squeue", "--noheader", *user), capture_output=True, check=True).stdout.strip():
        subprocess.run(("scancel", "--signal=KILL", "--full", *user), capture_output=True, check=False)
        subprocess.run(("scancel", *user), capture_output=True, check=False)
        if time.monotonic() > end:
            raise RuntimeError(f"Slurm still has jobs of {folder}")
        time.sleep(0.2)


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Have a Slurm cluster: the one that is there, or one of this machine alone."""
    if shutil.which("sinfo") and not subprocess.run(("sinfo",), capture_output=True, check=False).returncode:
        yield
        return
    before = dict(os.environ)
    # The name of a socket may not be long.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as place,
        slurm.running(Path(place) / "s") as environment,
    ):
        os.environ.update(environment)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def moments(kills: int, seed: int, whole: Life, most_delay: float) -> list[Moment]:
    """Draw when the sweep is killed, spread over its records, in the order in which it gets there."""
    generator = random.Random(seed)
    places = sorted(int(whole.epochs * (place + generator.random()) / kills) for place in range(kills))
    return [Moment(place, generator.uniform(0, most_delay)) for place in places]


def compare(whole: Sweep, killed: Sweep) -> list[str]:
    """Return what is not the same in two sweeps, times aside."""
    names = [[folder.name for folder in sweep.jobs()] for sweep in (whole, killed)]
    if names[0] != names[1]:
        return [f"the jobs: {names[0]} and {names[1]}"]
    found = [
        f"{one.name}: {name}"
        for one, other in zip(whole.jobs(), killed.jobs(), strict=True)
        for name in differences(left_by(one), left_by(other))
    ]
    return found + (["sweep.csv"] if whole.table() != killed.table() else [])


def kill_sweep(place: Path, launcher: str, jobs: int, kills: int, seed: int, epochs: int) -> int:
    """Sweep, kill, compare, and tell; return the exit status."""
    whole, killed = (Sweep(place / name, launcher, jobs, epochs) for name in ("whole", "killed"))
    alone = whole.live()
    if alone.status:
        print(f"the sweep that was left alone failed with status {alone.status}:\n{whole.output}")
        return 1
    print(
        f"{launcher}: {alone.done} jobs, {alone.epochs} epochs, {alone.seconds:.1f} s left alone", flush=True
    )
    print("life  lasted  jobs done  jobs begun  epochs", flush=True)
    count = 0
    for number, moment in enumerate([*moments(kills, seed, alone, 0.5), None], start=1):
        life = killed.live(moment)
        if life.status not in (0, -9):
            print(f"life {number} failed with status {life.status}:\n{killed.output}")
            return 1
        count += life.status == -9
        how = "killed" if life.status == -9 else "ended by itself"
        print(
            f"{number:4}{life.seconds:6.1f} s{life.done:11}{life.begun:12}{life.epochs:8}  {how}", flush=True
        )
    found = compare(whole, killed)
    for name in found[:20]:
        print(f"different: {name}")
    print(
        f"{count} kills: sweep.csv, weights, state, metrics and summaries are "
        + ("NOT the same" if found else "the same, times aside")
    )
    return int(bool(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Sweep in a temporary folder, which stays where something went wrong."""
    parser = argparse.ArgumentParser(prog="scripts/kill-sweep", description=__doc__)
    parser.add_argument("--launcher", choices=list(LAUNCHERS), default="basic", help="default: basic")
    parser.add_argument("--jobs", type=int, default=20, metavar="N", help="an even number (default: 20)")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="how often (default: 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="draws the moments (default: 0)")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="of each job (default: 20)")
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="kill-sweep-"))
    with cluster() if options.launcher == "slurm" else contextlib.nullcontext():
        status = kill_sweep(
            folder, options.launcher, options.jobs, options.kills, options.seed, options.epochs
        )
    if status:
        print(f"see {folder}")
    else:
        shutil.rmtree(folder)
    return status


def _is_locked(folder: Path) -> bool:
    from trainer.folder_lock import is_held

    return is_held(folder)


if __name__ == "__main__":
    sys.exit(main())
