"""What an update costs beside PyTorch's and JAX's, alone: the program of scripts/measure-updates."""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from trainer import runtime

THREADS = int(os.environ.get("TRAINER_BENCHMARK_THREADS", "2"))
runtime.prepare(threads=THREADS)

import numpy as np  # noqa: E402
import theano  # noqa: E402

from trainer import updates  # noqa: E402
from trainer.kernels.fused import fuse  # noqa: E402

RULES = (
    *("sgd", "momentum", "nesterov_momentum", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "amsgrad"),
    *("adamw", "lion"),
)
STATES = {"sgd": 0, "adadelta": 2, "adam": 2, "adamax": 2, "amsgrad": 3, "adamw": 2}
SIZES = {
    "1.3 M": ((784, 800), (800,), (800, 800), (800,), (800, 10), (10,)),
    "13 M": ((784, 2800), (2800,), (2800, 3000), (3000,), (3000, 800), (800,), (800, 10), (10,)),
    "200 biases": ((100,),) * 200,
}
PEERS = ("fused", "foreach", "jax")
PAUSE = 0.03  # seconds, in which the threads of who was timed last go to sleep


def our_update(rule: str, shapes: Sequence[tuple[int, ...]]) -> Callable[[], Any]:
    """Compile the fused update of a rule, its gradients held in shared variables."""
    random = np.random.default_rng(0)

    def shared(scale: float) -> list[Any]:
        return [theano.shared(random.normal(size=s).astype("float32") * np.float32(scale)) for s in shapes]

    params, gradients = shared(0.1), shared(0.01)
    rate = theano.shared(np.float32(1e-3))
    made = getattr(updates, rule)(gradients, params, learning_rate=rate)
    function: Callable[[], Any] = theano.function([], updates=fuse(made, gradients))
    return function


def copying(size: int) -> Callable[[], None]:
    """Give a copy of so many float32 by the C library, a part a thread."""
    memcpy = ctypes.CDLL(None).memcpy
    memcpy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    source, target = np.ones(size, "float32"), np.zeros(size, "float32")
    part = size // THREADS * 4
    pool = ThreadPoolExecutor(THREADS)

    def copy() -> None:
        started = [
            pool.submit(memcpy, target.ctypes.data + at * part, source.ctypes.data + at * part, part)
            for at in range(THREADS)
        ]
        for each in started:
            each.result()

    return copy


def timed(update: Callable[[], Any], count: int) -> list[float]:
    """Give the seconds of each of so many updates."""
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - start)
    return seconds


@contextmanager
def peers_process(interpreter: str) -> Iterator[Callable[..., list[float] | None]]:
    """Start the peers in their own Python; give what asks them for updates."""
    script = str(Path(__file__).with_name("update_peers.py"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    with subprocess.Popen(
        [interpreter, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(**what: Any) -> list[float] | None:
            print(json.dumps(what), file=process.stdin, flush=True)
            answer: list[float] | None = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            return answer

        yield ask
        process.stdin.close()


def measured(rule: str, size: str, rounds: int, asks: Sequence[Callable[..., Any]]) -> dict[str, list[float]]:
    """Give the seconds of the updates by each, taken in turns."""
    shapes = SIZES[size]
    elements = sum(int(np.prod(shape)) for shape in shapes)
    ours, copy = our_update(rule, shapes), copying(elements)
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        count = 3 if elements > 5_000_000 else 10
        found: dict[str, Any] = {}
        for name, update in (("ours", ours), ("copy", copy)):
            time.sleep(PAUSE)
            found[name] = timed(update, count)
        for peer in PEERS:
            for ask in asks:
                time.sleep(PAUSE)
                answer = ask(peer=peer, rule=rule, shapes=shapes, count=count, last=number == rounds)
                if answer:
                    found[peer] = answer
        for name, times in found.items():
            seconds.setdefault(name, []).extend(times if number else [])  # the first round warms up
    return {name: times for name, times in seconds.items() if times}


def told(rule: str, size: str, seconds: dict[str, list[float]]) -> str:
    """Write a row as an object for scripts/benchmark, with the share of a copy's bandwidth."""
    median = {name: statistics.median(times) for name, times in seconds.items()}
    share = (3 + 2 * STATES.get(rule, 1)) / 2 * median["copy"] / median["ours"]
    return json.dumps({"rule": rule, "size": size, "seconds": seconds, "share": share})


def line(rule: str, size: str, seconds: dict[str, list[float]]) -> str:
    """Write a row of the table."""
    median = {name: statistics.median(times) for name, times in seconds.items()}
    elements = sum(int(np.prod(shape)) for shape in SIZES[size])
    streams = 3 + 2 * STATES.get(rule, 1)
    bandwidth = streams * 4 * elements / median["ours"] / 1e9
    copied = 2 * 4 * elements / median["copy"] / 1e9
    best = min((median[peer] for peer in PEERS if peer in median), default=float("nan"))
    cells = [f"{median[name] * 1e6:10.0f}" if name in median else f"{'–':>10}" for name in ("ours", *PEERS)]
    return (
        f"{rule:18} {size:10} {' '.join(cells)} {best / median['ours']:7.2f} "
        f"{bandwidth:8.1f} {copied:8.1f} {bandwidth / copied:6.0%}"
    )


def main() -> None:
    """Print the table; arguments: rounds, rules, sizes (both with commas between), json (an object a row)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    rules = sys.argv[2].split(",") if len(sys.argv) > 2 and sys.argv[2] else RULES
    sizes = sys.argv[3].split(",") if len(sys.argv) > 3 else list(SIZES)[:2]
    row = told if "json" in sys.argv[4:] else line
    for head in (
        ()
        if row is told
        else (
            ("median, µs", "", "ours", "PyTorch", "PyTorch", "JAX", "best", "GB/s", "copy's", "of the"),
            ("", "", "", "fused", "foreach", "Optax", "/ ours", "", "GB/s", "copy"),
        )
    ):
        print("{:18} {:10} {:>10} {:>10} {:>10} {:>10} {:>7} {:>8} {:>8} {:>6}".format(*head))
    with ExitStack() as stack:
        interpreters = filter(None, os.environ.get("TRAINER_PEERS", "").split(os.pathsep))
        asks = [stack.enter_context(peers_process(each)) for each in interpreters]
        for size in sizes:
            for rule in rules:
                print(row(rule, size, measured(rule, size, rounds, asks)), flush=True)


if __name__ == "__main__":
    main()
