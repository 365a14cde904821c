"""Population-based training against a random search of the same cost, on MNIST's MLP.

By hand: scripts/compare-population [--data FOLDER] [--seeds N] [--members N] [--epochs N] [--output FOLDER].
For each seed, both train as many members for as many epochs, from the same drawn hyperparameters and initial
weights; a random search is a population of one generation. Of each, the member with the lowest validation
loss at any epoch is chosen, and the criterion is the test loss of its weights of that epoch: the lower wins.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SEARCHED = {
    "optimizer.learning_rate": "tag(log,interval(1e-3,1))",
    "optimizer.momentum": "interval(0.5,0.99)",
    "optimizer.weight_decay": "tag(log,interval(1e-5,1e-2))",
}
RUN = (
    "--multirun",
    "hydra/sweeper=population",
    "data=mnist",
    "model.hidden=[128,128]",
    "optimizer=nesterov_momentum",
    "training.batch_size=250",
    "training.evaluation_batch_size=5000",
    "device.threads=1",
    "logger.curves=null",
    "logger.pictures=null",
    *(f"{key}={values}" for key, values in SEARCHED.items()),
)


@dataclass(frozen=True)
class Chosen:
    """What a search ends with: the member with the lowest validation loss, as its folder tells it."""

    member: int
    epoch: int
    validation_loss: float
    test_loss: float
    test_accuracy: float

    @classmethod
    def of(cls, folder: Path) -> Chosen:
        """Read a population's folder."""
        found = [
            cls._read(number, path)
            for number, path in ((int(path.name.partition("_")[0]), path) for path in folder.glob("*_member"))
        ]
        return min((one for one in found if one), key=lambda one: (one.validation_loss, one.member))

    @classmethod
    def _read(cls, number: int, folder: Path) -> Chosen | None:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        best, test = summary.get("best"), summary.get("test")
        if not best or not test:
            return None
        return cls(number, best["epoch"], best["validation/loss"], test["loss"], test["accuracy"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all of it, print the table as Markdown, and return 0 where the population won most seeds."""
    given = _parse(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        output = given.output or Path(temporary)
        for seed in range(given.seeds):
            by_interval = {interval: _search(given, seed, interval, output) for interval in (1, given.epochs)}
            rows.append((by_interval[1], by_interval[given.epochs]))
            print(f"seed {seed}: {rows[-1]}", file=sys.stderr, flush=True)
    for line in table(rows):
        print(line)
    wins = sum(population.test_loss < random.test_loss for population, random in rows)
    return 0 if 2 * wins > len(rows) else 1


def table(rows: Sequence[tuple[Chosen, Chosen]]) -> list[str]:
    """Return the lines of the table: a row a seed, the population's numbers before the random search's."""
    lines = [
        "| seed | test loss: population | random search | difference | test accuracy | | "
        "validation loss | | best epoch | |",
        "| ---: |" + " ---: |" * 9,
    ]
    for seed, (one, other) in enumerate(rows):
        better, worse = (f"**{one.test_loss:.4f}**", f"{other.test_loss:.4f}")
        if other.test_loss <= one.test_loss:
            better, worse = (f"{one.test_loss:.4f}", f"**{other.test_loss:.4f}**")
        lines.append(
            f"| {seed} | {better} | {worse} | {100 * (one.test_loss / other.test_loss - 1):+.1f} % "
            f"| {100 * one.test_accuracy:.2f} % | {100 * other.test_accuracy:.2f} % "
            f"| {one.validation_loss:.4f} | {other.validation_loss:.4f} | {one.epoch} | {other.epoch} |"
        )
    wins = sum(one.test_loss < other.test_loss for one, other in rows)
    return [*lines, "", f"The population has the lower test loss in {wins} of {len(rows)} seeds."]


def _search(given: argparse.Namespace, seed: int, interval: int, output: Path) -> Chosen:
    folder = output / f"seed-{seed}-interval-{interval}"
    command = [
        sys.executable,
        "-m",
        "trainer",
        *RUN,
        f"data.folder={given.data.absolute()}",
        f"training.epochs={given.epochs}",
        f"training.seed={1000 * seed}",
        f"hydra.sweeper.members={given.members}",
        f"hydra.sweeper.interval={interval}",
        f"hydra.sweeper.seed={seed}",
        f"hydra.sweep.dir={folder}",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # A member of a random search that diverges makes the command's status 1, and is no mistake here.
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode not in (0, 1):
        raise SystemExit(ended.returncode)
    return Chosen.of(folder)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/mnist"), help="the folder of MNIST's files")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--output", type=Path, help="where the runs' folders stay; they are deleted without it"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
