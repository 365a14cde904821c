"""Measure how long a checkpoint holds a training step of about 100 ms with 10 M parameters.

By hand: scripts/measure-checkpoint [rounds [threads]]. It prints, for SGD (40 MB of state) and Adam (120 MB),

- what copying the state takes, in several ways, while nothing else runs;
- for how long a checkpoint stops the training (the hold): between two steps, and in the next one, where it
  waits for the copy before it writes;
- what it adds to the next step, and to all steps until the files are written, by taking memory and cores from
  them; in the difference of two noisy figures, so only a quiet machine tells this.

A few minutes; the files go to TMPDIR.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import runtime

Array = NDArray[Any]

SIZES = (784, 2800, 2760, 10)
STEP_MS = 100.0


def timed(call: Callable[..., object], *arguments: Any) -> float:
    """Return how many milliseconds a call takes."""
    began = time.perf_counter()
    call(*arguments)
    return 1000 * (time.perf_counter() - began)


def row(name: str, times: Sequence[float]) -> str:
    """Return a line of the table."""
    return f"  {name:<58} {statistics.median(times):8.2f} {max(times):8.2f}"


def compiled(rule: str, settle: Callable[[], object]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Compile a step of a network of 10 M parameters; return it and its shared variables by name."""
    import theano
    from theano import tensor

    from trainer import updates
    from trainer.kernels.copying import gate
    from trainer.kernels.finite import check_finite, hold

    generator = np.random.default_rng(0)
    x, y = tensor.fmatrix(), tensor.ivector()
    parameters, output = [], x
    for number, (before, after) in enumerate(itertools.pairwise(SIZES)):
        weights = 0.02 * generator.standard_normal((before, after), np.float32)
        parameters += [
            theano.shared(weights, f"W{number}"),
            theano.shared(np.zeros(after, "f4"), f"b{number}"),
        ]
        output = tensor.dot(output, parameters[-2]) + parameters[-1]
        output = output if after == SIZES[-1] else tensor.maximum(output, 0)
    loss = tensor.nnet.categorical_crossentropy(tensor.nnet.softmax(output), y).mean()
    gradients, norm = check_finite(loss, theano.grad(loss, parameters), [each.name for each in parameters])
    changes = getattr(updates, rule)(gradients, parameters, 0.001)
    norm = hold(gate(norm, settle), changes)
    step = theano.function([x, y], [loss, norm], updates=changes)
    return step, {f"{number}": variable for number, variable in enumerate(changes)}


def batch_for(step: Callable[..., Any]) -> tuple[Array, Array]:
    """Return a batch with which the step takes about 100 ms."""
    generator = np.random.default_rng(1)
    size = 64
    for _ in range(4):
        batch = generator.standard_normal((size, SIZES[0]), np.float32), np.zeros(size, np.int32)
        taken = statistics.median(timed(step, *batch) for _ in range(5))
        size = max(1, int(size * STEP_MS / taken))
    return batch


def ways_to_copy(variables: Mapping[str, Any]) -> dict[str, Callable[[], object]]:
    """Return ways to copy the variables, by what they are called."""
    from trainer.checkpoints.snapshot import Snapshot

    sources = [variable.get_value(borrow=True) for variable in variables.values()]
    targets = [np.ones_like(source) for source in sources]
    snapshot, pool = Snapshot(variables), ThreadPoolExecutor(1)
    pieces = list(zip(*(halves(*pair) for pair in zip(targets, sources, strict=True)), strict=True))

    def copy(pairs: Sequence[tuple[Array, Array]]) -> None:
        for target, source in pairs:
            np.copyto(target, source)

    def copy_in_two() -> None:
        other = pool.submit(copy, pieces[1])
        copy(pieces[0])
        other.result()

    def copy_anew() -> None:
        for source in sources:
            source.copy()

    return {
        "NumPy, into new arrays": copy_anew,
        "NumPy, into arrays that are there": lambda: copy(list(zip(targets, sources, strict=True))),
        "the same by two threads": copy_in_two,
        "one call of C, past the caches (Snapshot)": snapshot.take,
    }


def halves(target: Array, source: Array) -> list[tuple[Array, Array]]:
    """Return two arrays' first and second half."""
    middle = source.size // 2
    flat = target.reshape(-1), source.reshape(-1)
    return [(flat[0][:middle], flat[1][:middle]), (flat[0][middle:], flat[1][middle:])]


@dataclass
class Times:
    """Milliseconds of each round."""

    plain: list[float] = field(default_factory=list)
    hold: list[float] = field(default_factory=list)
    next_step: list[float] = field(default_factory=list)
    until_written: list[float] = field(default_factory=list)


def measure_steps(step: Callable[[], object], checkpointer: Any, waited: list[float], rounds: int) -> Times:
    """Train with a checkpoint now and then; `waited` grows by what the step waited for copies."""
    times = Times()
    for number in range(rounds):
        usual = statistics.median(timed(step) for _ in range(5))
        waited.clear()
        between = timed(checkpointer.watch, number + 1)
        following = timed(step)
        times.plain.append(usual)
        times.hold.append(between + sum(waited))
        times.next_step.append(between + following - usual)
        added = times.next_step[-1]
        while checkpointer.writer.is_busy("checkpoint"):
            added += timed(step) - usual
        times.until_written.append(added)
    return times


def measure(rule: str, rounds: int, threads: str) -> None:
    """Print the table of one rule."""
    from trainer.checkpoints import CheckpointStore
    from trainer.checkpoints.checkpointer import Checkpointer, Every

    waited: list[float] = []
    settle: list[Callable[[], object]] = [lambda: None]
    function, variables = compiled(rule, lambda: waited.append(timed(settle[0])))
    size = sum(variable.get_value(borrow=True).nbytes for variable in variables.values())
    batch = batch_for(function)
    print(f"{rule}: {size / 1e6:.0f} MB of state, batches of {len(batch[0])}, {threads}")
    print(f"  {'ms':<58} {'median':>8} {'maximum':>8}")
    for name, copy in ways_to_copy(variables).items():
        copy()
        print(row(f"copy: {name}", [timed(copy) for _ in range(3 * rounds)]))
    for gated, name in ((False, "between two steps"), (True, "beside the next step")):
        with tempfile.TemporaryDirectory(prefix="measure-checkpoint-") as folder:
            store = CheckpointStore(Path(folder) / "checkpoints")
            checkpointer = Checkpointer(
                store, variables, dict, every=Every(steps=1), gated=variables if gated else ()
            )
            settle[0] = checkpointer.settle
            times = measure_steps(lambda: function(*batch), checkpointer, waited, rounds)
            checkpointer.close()
        print(row(f"copied {name}: a plain step", times.plain))
        print(row(f"copied {name}: the hold", times.hold))
        print(row(f"copied {name}: added to the next step", times.next_step))
        print(row(f"copied {name}: added until it is written", times.until_written), flush=True)


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else None
    runtime.prepare(threads=threads)
    for rule in ("sgd", "adam"):
        measure(rule, rounds, f"{threads or 'all'} threads of the BLAS")


if __name__ == "__main__":
    main()
