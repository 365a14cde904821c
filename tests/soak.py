"""Kill a run again and again, resume it each time, and compare it with one that was left alone, bit for bit.

By hand: scripts/soak [--kills N] [--seed S] [--full-disk]. Both runs train the same small network with all
that a state can consist of. One is killed by SIGKILL at N moments that the seed draws: while it starts,
compiles, trains, evaluates, writes a checkpoint, and at its end; with --full-disk, every second of its
lives can write no file of more than 8 kB, which is less than a checkpoint's. Status 1 says that they left
something different.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.left_by import differences, left_by, records
from trainer.loggers.base import Logger, Plan

ROOT = Path(__file__).parent.parent
PHASES = ("starting", "compiling", "training", "evaluating", "done")
POSITION = struct.Struct("<QQ")
POSITION_FILE = "position"

# Of the 42 epochs or so, each has 21 updates, the last one of two batches instead of three.
RUN = (
    "model=layers",
    "model.layers=[flatten,{dense:{units:32,activation:relu}},batchnorm,{dropout:0.2},{dense:{units:outputs}}]",
    "data.validation_fraction=0.3",
    "+data.augmentation.shift._target_=trainer.data.augmentation.shift",
    "+data.augmentation.shift.pixels=1",
    "optimizer=nesterov_momentum",
    "optimizer.learning_rate=0.05",
    "schedule=plateau",
    "schedule.learning_rate.factor=0.5",
    "schedule.learning_rate.patience=2",
    "schedule@schedule.momentum=linear",
    "schedule.momentum.final=0.5",
    "gradient=noise",
    "clipping=total_norm",
    "averaging=exponential",
    "averaging.decay=0.99",
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=6",
    "training.epochs=60",
    "training.batch_size=16",
    "training.accumulation=3",
    "training.evaluation_batch_size=5",
    "training.checkpoints.every_steps=4",
    "device.threads=1",
    "+logger.position._target_=tests.soak.Position",
)


class Position(Logger):
    """Keeps phase and update of a run where another process sees them, after a SIGKILL too."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, plan: Plan) -> None:
        """Begin to tell."""
        with (plan.folder.parent / POSITION_FILE).open("r+b") as file:
            memory = mmap.mmap(file.fileno(), POSITION.size)
        progress = plan.progress

        def tell() -> None:
            while not self._over.wait(0.0005):
                memory[:] = POSITION.pack(PHASES.index(progress.phase), progress.step)

        self._thread = threading.Thread(target=tell, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell no more."""
        self._over.set()


@dataclass(frozen=True)
class Moment:
    """When a life of the run ends: some seconds after a phase began, and not before an update."""

    phase: str
    step: int = 0
    delay: float = 0.0
    on_full_disk: bool = False

    @property
    def number(self) -> int:
        """The phase's place among all; writing happens in training."""
        return PHASES.index("training" if self.phase == "writing" else self.phase)


@dataclass
class Life:
    """A life of the run: where it was when it ended, and how.

    Attributes
    ----------
    status : int
        The exit status; -9 where it was killed.
    phase, step
        The last that was seen.
    writing : bool
        Whether a checkpoint lay half-written.
    began : dict of str to float
        When each phase that was seen began, in seconds of this life.
    log : str
        What it added to train.log.
    """

    status: int
    phase: str
    step: int
    writing: bool
    began: dict[str, float]
    log: str

    def __str__(self) -> str:
        where = f"update {self.step}" if self.began.keys() - {"starting", "compiling"} else "no update"
        writing = ", a checkpoint half-written" if self.writing else ""
        return f"{self.phase}, {where}{writing}"

    @property
    def resumed_from(self) -> str:
        """What it went on from, as it said."""
        found = re.findall(r"goes on after step (\d+)", self.log)
        if found:
            return f"from update {found[-1]}"
        if not {"training", "compiling"} & self.began.keys():
            return "not begun"
        return "from the beginning" if self.log else "without a log"


class Run:
    """The run that is killed, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._position = folder.parent / POSITION_FILE
        self._output = folder.parent / "output"

    def live(self, moment: Moment | None = None) -> Life:
        """Start or resume the run, and kill it at a moment, unless it ends before."""
        log = self.folder / "train.log"
        known = log.stat().st_size if log.exists() else 0
        self._position.write_bytes(bytes(POSITION.size))
        # Killed before it had begun, it has left nothing to resume.
        begun = (self.folder / "metrics.jsonl").exists()
        told = (
            (f"resume={self.folder}", "allowed_targets=[tests]")
            if begun
            else (*RUN, f"hydra.run.dir={self.folder}")
        )
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "trainer", *told],
                cwd=self.folder.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": paths},
                preexec_fn=fill_disk if moment and moment.on_full_disk else None,
            )
            began = self._follow(process, moment)
        number, step = POSITION.unpack(self._position.read_bytes())
        # What lies there before a run clears it away is of the life before.
        writing = number >= PHASES.index("training") and self._is_writing()
        added = log.read_bytes()[known:].decode(errors="replace") if log.exists() else ""
        return Life(process.returncode, PHASES[number], step, writing, began, added)

    @property
    def output(self) -> str:
        """What the last life printed."""
        return self._output.read_text(errors="replace")

    def _follow(self, process: subprocess.Popen[bytes], moment: Moment | None) -> dict[str, float]:
        started = time.monotonic()
        began = {"starting": 0.0}
        since: float | None = None
        with self._position.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as seen:
            while process.poll() is None:
                now = time.monotonic() - started
                number, step = POSITION.unpack(seen[:])
                began.setdefault(PHASES[number], now)
                if moment is not None:
                    if since is None and self._is_at(moment, number, step):
                        since = now
                    # One that comes late must not come after the end.
                    ends = (self.folder / "summary.json").exists() and number == PHASES.index("done")
                    passed = number > moment.number and moment.number < PHASES.index("training")
                    if ends or passed or (since is not None and now - since >= moment.delay):
                        process.kill()
                        process.wait()
                        break
                time.sleep(0.0003)
        return began

    def _is_at(self, moment: Moment, number: int, step: int) -> bool:
        if step < moment.step and number < PHASES.index("done"):
            return False
        if moment.phase == "writing":
            return self._is_writing()
        return number == moment.number

    def _is_writing(self) -> bool:
        return any((self.folder / "checkpoints").glob(".*.part"))


def fill_disk() -> None:
    """Let each writing beyond 8 kB of a file fail, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def moments(kills: int, seed: int, whole: Life, full_disk: bool = False) -> list[Moment]:
    """Draw when the run is killed, in the order in which it gets there.

    One in ten kills comes at the end, at least one; the others are spread over the updates, in turn while it
    starts or compiles, trains, evaluates and writes.
    """
    generator = random.Random(seed)
    at_end = max(1, kills // 10)
    others = kills - at_end
    early = ("starting", "compiling")
    kinds = [("", "training", "evaluating", "writing")[place % 4] for place in range(others)]
    generator.shuffle(kinds)
    began = [*whole.began.values(), whole.began["done"]]
    lengths = {
        "starting": whole.began["compiling"],
        # Compiled before, it takes seconds.
        "compiling": min(began[2] - began[1], 5.0),
        "training": 0.02,
        "evaluating": 0.01,
        "writing": 0.01,
        "done": 0.5,
    }
    drawn = []
    for place, kind in enumerate(kinds):
        phase = kind or generator.choice(early)
        step = 0 if phase in early else int(whole.step * (place + generator.random()) / (others + 1))
        is_full = full_disk and place % 2 == 1
        drawn.append(Moment(phase, step, generator.uniform(0, lengths[phase]), is_full))
    return [
        *drawn,
        *(Moment("done", whole.step, generator.uniform(0, lengths["done"])) for _ in range(at_end)),
    ]


def soak(folder: Path, kills: int, seed: int, full_disk: bool = False) -> int:
    """Run, kill, compare, and tell; return the exit status."""
    began = time.monotonic()
    (folder / "whole").mkdir()
    (folder / "killed").mkdir()
    whole, killed = Run(folder / "whole" / "run"), Run(folder / "killed" / "run")
    alone = whole.live()
    if alone.status:
        print(f"the run that was left alone failed with status {alone.status}:\n{whole.output}")
        return 1
    print(f"left alone: {len(records(whole.folder))} epochs, {alone.step} updates", flush=True)
    counted: Counter[str] = Counter()
    half_written = 0
    for number, moment in enumerate([*moments(kills, seed, alone, full_disk), None], start=1):
        life = killed.live(moment)
        is_full = moment is not None and moment.on_full_disk
        if life.status not in (0, -9) and not is_full:
            print(f"life {number} failed with status {life.status}:\n{killed.output}")
            return 1
        is_killed = life.status == -9
        told = f"killed: {life}" if is_killed else "ended by itself"
        told += ", on a full disk" if is_full else ""
        print(f"life {number:3}: {life.resumed_from:20} {told}", flush=True)
        for line in re.findall(r"(?:WARNING|ERROR).*", life.log):
            print(f"          {line.replace(str(folder), 'FOLDER')}")
        if is_killed:
            counted[life.phase] += 1
            half_written += life.writing
    found = differences(left_by(whole.folder), left_by(killed.folder))
    listed = ", ".join(f"{counted[phase]} {phase}" for phase in PHASES if counted[phase])
    print(
        f"{sum(counted.values())} kills ({listed}), {half_written} of them with a checkpoint half-written, "
        f"in {time.monotonic() - began:.0f} s"
    )
    for name in found[:20]:
        print(f"different: {name}")
    if found[20:]:
        print(f"different: {len(found) - 20} more")
    print("weights, state, metrics and summary are " + ("NOT the same" if found else "the same, bit for bit"))
    return int(bool(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Soak in a temporary folder, which stays where something went wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="how often (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="draws the moments (default: 0)")
    parser.add_argument("--full-disk", action="store_true", help="let every second life find the disk full")
    options = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    status = soak(folder, options.kills, options.seed, options.full_disk)
    if status:
        print(f"see {folder}")
    else:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
