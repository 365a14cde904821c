"""A small graph on a device, in a process of its own, which a bad driver may crash.

`python -m trainer.commands.device_trial NAME PRECISION CACHE` prints what it found as one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from trainer import runtime
from trainer.errors import RunError, UsageError

_SECONDS = 300
_SIZE = 64


def try_device(name: str, precision: str, cache: Path) -> str:
    """Compile a small graph for a device, run it, and compare it with NumPy.

    Parameters
    ----------
    name : str
        `cuda0`, `opencl0:0`.
    precision : str
        `float32` or `float64`.
    cache : Path
        The compile cache's folder.

    Returns
    -------
    str
        Why Theano cannot compute on it; empty where it can.
    """
    command = [sys.executable, "-m", __name__, name, precision, str(cache)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, errors="replace")
    except subprocess.TimeoutExpired:
        return f"a graph of three operations did not end within {_SECONDS} s"
    try:
        return str(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        return f"its process ended with status {done.returncode}: {last}"


def main(name: str, precision: str, cache: str) -> None:
    """Try the device in this process, and print what came of it."""
    try:
        runtime.prepare(name=name, precision=precision, compile_cache=cache)
        complaint = _computed(precision)
    except (UsageError, RunError) as error:
        complaint = str(error)
    print(json.dumps(complaint))


def _computed(precision: str) -> str:
    import numpy as np
    import theano
    from theano import tensor

    values = np.random.default_rng(0).normal(size=(_SIZE, _SIZE)).astype(precision) / 8
    matrix = theano.shared(values, "matrix")
    try:
        found = theano.function([], tensor.tanh(tensor.dot(matrix, matrix)).sum(axis=0))()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    expected = np.tanh(values.astype("float64") @ values.astype("float64")).sum(axis=0)
    worst = float(np.abs(found - expected).max())
    return "" if worst < 1e-3 else f"it computes wrongly: an error of {worst:.2g} in sums of {_SIZE} numbers"


if __name__ == "__main__":
    main(*sys.argv[1:])
