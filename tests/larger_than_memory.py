"""Train on a generated set that is larger than memory should be, and say how much memory that took.

By hand: scripts/larger-than-memory [GB [overrides]]. It writes two npy files (8 GB and a few MB) into a
temporary folder (TMPDIR), trains 600 steps by the command, and deletes them. Status 1 says: above 1.5 GB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT = 1.5e9
FEATURES = 784
CLASSES = 10


def write_set(folder: Path, gigabytes: float) -> int:
    """Write noise around ten prototypes, and the numbers of the prototypes; return how many examples."""
    examples = int(gigabytes * 1e9 / (4 * FEATURES))
    generator = np.random.default_rng(0)
    prototypes = generator.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    targets = generator.integers(0, CLASSES, examples).astype(np.int32)
    np.save(folder / "targets.npy", targets)
    noise = 4 * generator.standard_normal(2**24, dtype=np.float32)
    header = {"descr": "<f4", "fortran_order": False, "shape": (examples, FEATURES)}
    with (folder / "inputs.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for first in range(0, examples, 8192):
            classes = targets[first : first + 8192]
            begin = int(generator.integers(0, len(noise) - 8192 * FEATURES))
            rows = noise[begin : begin + len(classes) * FEATURES].reshape(len(classes), FEATURES)
            file.write((rows + prototypes[classes]).data)
    return examples


def resident(process: int) -> int:
    """Return the bytes of memory that a process has now, mapped files included; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def train(folder: Path, overrides: list[str]) -> tuple[int, int, int]:
    """Run the command; return its status and its largest memory, as seen here and as the system counted."""
    command = [
        *(sys.executable, "-m", "trainer", "data=npy", "model=mlp", "training.epochs=2"),
        *(f"data.inputs={folder}/inputs.npy", f"data.targets={folder}/targets.npy"),
        *("data.validation_fraction=0.002", "data.test_fraction=0.002", "training.steps_per_epoch=300"),
        f"hydra.run.dir={folder}/run",
        *overrides,
    ]
    root = str(Path(__file__).parent.parent)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": root})
    seen = 0
    while True:
        finished, status, usage = os.wait4(process.pid, os.WNOHANG)
        if finished:
            return os.waitstatus_to_exitcode(status), seen, 1024 * usage.ru_maxrss
        seen = max(seen, resident(process.pid))
        time.sleep(0.05)


def main() -> int:
    """Write, train, report, delete."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    with tempfile.TemporaryDirectory(prefix="larger-than-memory-") as name:
        free = shutil.disk_usage(name).free
        if free < (gigabytes + 1) * 1e9:
            print(
                f"{name} has {free / 1e9:.1f} GB free; {gigabytes + 1:.1f} are needed: set TMPDIR",
                file=sys.stderr,
            )
            return 2
        began = time.monotonic()
        examples = write_set(Path(name), gigabytes)
        size = (Path(name) / "inputs.npy").stat().st_size
        print(
            f"wrote {examples:,} examples, {size / 1e9:.2f} GB, in {time.monotonic() - began:.0f} s",
            flush=True,
        )
        status, seen, counted = train(Path(name), sys.argv[2:])
        print(f"resident memory, at most: {seen / 1e9:.3f} GB by smaps, {counted / 1e9:.3f} GB by ru_maxrss")
    return status or int(max(seen, counted) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
