"""Measure what the check of loss and gradients adds to a training step.

By hand: scripts/measure-finite-check [ROUNDS]. Each network is compiled with the check, without it, and with
an operation in its place that passes the gradients on and looks at none. The last is there because the check
also changes what Theano makes of the updates: it hinders it from fusing a gradient's product into a velocity,
and from computing parts of a gradient again in each state.

The three take turns step by step, so that whatever else the machine does meets them alike. In each round
they are compiled in another order, in a process of its own, since where the memory of a function lies makes
more of a difference than what is measured here. The medians of the rounds are compared. Status 1 says: the
check takes more than 2 % of the step without it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from trainer import runtime

machine = runtime.prepare()

import numpy as np  # noqa: E402 (Theano is to be made ready first)
import theano  # noqa: E402

from trainer.kernels.finite import CheckFinite  # noqa: E402
from trainer.layers import Layer  # noqa: E402
from trainer.models import Network, mlp  # noqa: E402
from trainer.objectives import cross_entropy  # noqa: E402
from trainer.training import compile_training_step  # noqa: E402
from trainer.updates import adam, nesterov_momentum  # noqa: E402

LIMIT = 0.02
# Next to 0, so that each step computes with the same numbers.
RATE = np.float32(1e-12)


class PassOn(CheckFinite):
    """Does everything that the check does but the sums."""

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Leave out the sums."""
        return re.sub("total [+]= .*", "", super().c_code(node, name, inputs, outputs, sub))


CHECKS: dict[str, type[CheckFinite] | None] = {"without": None, "passing": PassOn, "checked": CheckFinite}


@dataclass(frozen=True)
class Case:
    """A network, its update rule, and how many steps one round takes."""

    title: str
    rule: Callable[..., Any]
    layers: list[Layer]
    inputs: int
    examples: int
    steps: int

    def compile(self, check: type[CheckFinite] | None) -> Callable[..., Any]:
        """Compile its step."""
        network = Network(self.layers, (self.inputs,), 0)
        objective = cross_entropy()
        x, targets = network.input_variable(), objective.target_variable()
        loss = objective.training_losses(network.output(x, training=True), targets).mean()
        gradients: Any = theano.grad(loss, network.parameters)
        norm = None
        if check is not None:
            names = [str(each.name) for each in network.parameters]
            norm, *gradients = check(names).make_node(loss, *gradients).outputs
        rule = self.rule(gradients, network.parameters, learning_rate=theano.shared(RATE))
        updates = {**rule, **network.updates(training=True)}
        if norm is not None:
            return compile_training_step(x, targets, loss, norm, updates)
        function: Any = theano.function([x, targets], loss, updates=list(updates.items()))
        function.trust_input = True
        return function  # type: ignore[no-any-return]

    def measure(self, order: Sequence[str]) -> list[float]:
        """Give the median time of each step in seconds, in the order of `CHECKS`."""
        generator = np.random.default_rng(0)
        inputs = generator.normal(size=(self.examples, self.inputs)).astype(np.float32)
        targets = generator.integers(0, 10, self.examples).astype(np.int32)
        steps = {name: self.compile(CHECKS[name]) for name in order}
        times: dict[str, list[float]] = {name: [] for name in CHECKS}
        for turn in range(self.steps):
            for name in np.roll(order, turn):
                began = time.perf_counter()
                steps[name](inputs, targets)
                times[name].append(time.perf_counter() - began)
        return [float(np.median(taken[self.steps // 10 :])) for taken in times.values()]


CASES = {
    "mnist": Case(
        "784-800-800-10 with dropout, nesterov_momentum, batch 500",
        nesterov_momentum,
        mlp((784,), 10, hidden=(800, 800), input_dropout=0.2, dropout=0.5),
        *(784, 500, 60),
    ),
    "digits": Case("64-256-128-10, adam, batch 64", adam, mlp((64,), 10), 64, 64, 3000),
}


def measure_apart(case: str, order: Sequence[str]) -> list[float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, case, *order]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [float(number) for number in output.split()]


def main() -> int:
    """Measure all, and compare."""
    if len(sys.argv) > 2:
        print(*CASES[sys.argv[1]].measure(sys.argv[2:]))
        return 0
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    print(f"{machine.device}, {machine.threads} threads, {rounds} rounds")
    orders = list(permutations(CHECKS))
    worst = 0.0
    for name, case in CASES.items():
        times = np.array([measure_apart(name, orders[turn % len(orders)]) for turn in range(rounds)])
        without, passing, checked = 1e6 * np.median(times, axis=0)
        whole = np.median(times[:, 2] / times[:, 0]) - 1
        sums = np.median((times[:, 2] - times[:, 1]) / times[:, 0])
        worst = max(worst, whole)
        print(
            f"{case.title}: {without:,.1f} µs without the check, {checked:,.1f} µs with it ({whole:+.2%}), "
            f"{passing:,.1f} µs passing on ({sums:+.2%} for the sums)",
            flush=True,
        )
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
