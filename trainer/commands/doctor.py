"""`trainer-doctor`: what Theano would train with on this machine, a verdict and a cure a row."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from trainer import runtime
from trainer.commands.device_findings import examine_devices, named
from trainer.commands.findings import MISSING, OK, OPTIONAL, WARNING, Row, show
from trainer.commands.prebuilding import build
from trainer.errors import RunError, UsageError
from trainer.runtime import flags
from trainer.runtime.threads import cores

_OPTIONAL = {
    "pygpu": "trains on CUDA and OpenCL devices",
    "optuna": "searches hyperparameters",
    "joblib": "runs a sweep's jobs side by side",
    "tensorboardX": "logs to TensorBoard",
    "mlflow": "logs to MLflow",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Look at everything that training needs, print a table, and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The command line without the program's name; default: the process's own.

    Returns
    -------
    int
        0 where all that is needed is there, 1 where something is missing, 2 for a wrong command line.
    """
    options = _parser().parse_args(argv)
    choices = runtime.Choices(
        options.device,
        options.precision,
        options.threads,
        options.blas_ldflags,
        options.compiler,
        options.compile_cache,
    )
    rows = examine(choices, options.size)
    if options.build and all(row.verdict != MISSING for row in rows):
        rows.append(_built(choices))
    show(rows, Console())
    return 1 if any(row.verdict == MISSING for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trainer-doctor",
        description="Say what Theano finds on this machine to train with, and how to get what is missing.",
        epilog="Exit status: 0 all that is needed is there, 1 something is missing, 2 a wrong option.",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="NAME", help="cpu, cuda, cudaN, opencl, openclP:D (default: cpu)"
    )
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "float64"), help="default: float32"
    )
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of a matrix product (default: all cores)"
    )
    parser.add_argument(
        "--blas-ldflags", metavar="FLAGS", help="linker flags of a BLAS (default: the one that is found)"
    )
    parser.add_argument("--compiler", metavar="PROGRAM", help="a C++ compiler (default: g++ or clang++)")
    parser.add_argument("--compile-cache", metavar="FOLDER", help="the folder of compiled modules")
    parser.add_argument(
        "--size", type=_size, default=2000, metavar="N", help="measure N by N matrices (default: 2000)"
    )
    parser.add_argument(
        "--build", action="store_true", help="compile what the default command needs, for its first run"
    )
    return parser


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no size of a matrix: give a whole number from 1")
    return int(text)


def examine(choices: runtime.Choices, size: int) -> list[Row]:
    """Look at everything in turn; what fails is a row, and what depends on it is left out."""
    rows = [
        _python(),
        _package("theano", "Theano", (1, 0), (1, 1), "pip install theano==1.0.5"),
        _package("numpy", "NumPy", (1, 22), (1, 24), "pip install 'numpy>=1.22,<1.24'"),
    ]
    user = flags.UserFlags()
    cache = _attempt(rows, "Compile cache", lambda: choices.find_cache(user), _describe_cache)
    compiler = cache and _attempt(
        rows,
        "Compiler",
        lambda: choices.find_compiler(user, cache),
        lambda found: f"{found.path}, version {found.version}",
    )
    blas = compiler and _attempt(
        rows,
        "BLAS",
        lambda: choices.find_blas(user, compiler, cache),
        lambda found: f"{found.file} ({_ORIGINS[found.origin]})",
    )
    _attempt(
        rows,
        "Threads",
        choices.count_threads,
        lambda number: f"{number}, of {cores()} cores that may be used",
    )
    device = _attempt(rows, "Device", lambda: choices.find_device(user), lambda name: name)
    if blas and device and all(row.verdict != MISSING for row in rows):
        rows.remove(next(row for row in rows if row.subject == "Device"))
        prepared = _attempt(rows, "Device", lambda: runtime.prepare(**vars(choices)), _describe_device)
        if prepared:
            rows += _products(size, choices.precision) if prepared.device == "cpu" else []
            rows += examine_devices(choices.precision, compiler, cache)
    return rows + _optional()


_ORIGINS = {"user": "your own flags", "system": "of the system", "wheel": "of scipy-openblas32"}


def _attempt(rows: list[Row], subject: str, find: Callable[[], Any], describe: Callable[[Any], str]) -> Any:
    """Add a row of what `find` returns, or of why it cannot; return what it found, or None."""
    try:
        found = find()
    except UsageError as error:
        rows.append(Row(subject, str(error), MISSING))
        return None
    rows.append(Row(subject, describe(found)))
    return found


def _python() -> Row:
    version = platform.python_version()
    if sys.version_info[:2] in ((3, 10), (3, 11)):
        return Row("Python", version)
    return Row("Python", version, MISSING, "Install Python 3.10 or 3.11: Theano 1.0.5 runs on no later one.")


def _package(name: str, title: str, lowest: tuple[int, int], below: tuple[int, int], command: str) -> Row:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Row(title, "not installed", MISSING, f"Install it: {command}")
    major, minor = (int(part) for part in version.split(".")[:2])
    if lowest <= (major, minor) < below:
        return Row(title, version)
    return Row(title, version, MISSING, f"This version does not work here: {command}")


def _describe_cache(folder: Path) -> str:
    size = 0
    for file in folder.rglob("*"):
        # Another process may tidy the cache up while we count.
        try:
            size += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return f"{folder}, {size / 1e6:.0f} MB, writable"


def _describe_device(ready: runtime.Runtime) -> str:
    there = ", ".join(named(ready.compiler, ready.compile_cache))
    return f"{ready.named}, {ready.precision}; there are {there}"


def _products(size: int, precision: str) -> list[Row]:
    """Measure a matrix product through Theano beside NumPy's, and see which library Theano's calls."""
    import numpy
    import theano

    left, right = (theano.shared(numpy.ones((size, size), precision)) for _ in range(2))
    target = theano.shared(numpy.zeros((size, size), precision))
    multiply = theano.function([], updates=[(target, theano.tensor.dot(left, right))])
    try:
        runtime.verify(multiply)
    except UsageError as error:
        return [Row("Matrix product", str(error), MISSING)]
    matrix = numpy.ones((size, size), precision)
    ours = _gigaflops(multiply, size)
    numpys = _gigaflops(lambda: numpy.dot(matrix, matrix), size)
    speeds = f"{ours:.0f} GFLOP/s through Theano, {numpys:.0f} through NumPy"
    found = f"calls that BLAS: {speeds} ({size} x {size}, {precision})"
    if ours < numpys / 2:
        return [
            Row(
                "Matrix product",
                found,
                WARNING,
                "Give another BLAS by device.blas_ldflags, or more device.threads.",
            )
        ]
    return [Row("Matrix product", found)]


def _gigaflops(multiply: Callable[[], Any], size: int, rounds: int = 5) -> float:
    """Return the median speed of a product of square matrices, after one that warms up."""
    multiply()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / statistics.median(seconds) / 1e9


def _built(choices: runtime.Choices) -> Row:
    try:
        seconds = build(choices)
    except RunError as error:
        return Row("Compiled modules", str(error), MISSING)
    return Row("Compiled modules", f"those of the default command, in {seconds:.1f} s")


def _optional() -> list[Row]:
    rows = []
    for name, use in _OPTIONAL.items():
        try:
            rows.append(Row(name, f"{importlib.metadata.version(name)}; {use}"))
        except importlib.metadata.PackageNotFoundError:
            there = importlib.util.find_spec(name) is not None
            found = f"installed, its version unknown; {use}" if there else f"not installed; {use}"
            rows.append(Row(name, found, OK if there else OPTIONAL))
    return rows


if __name__ == "__main__":
    sys.exit(main())
