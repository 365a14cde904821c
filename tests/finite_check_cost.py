"""Measure what the check of loss and gradients adds to a training step.

By hand: scripts/measure-finite-check [STEPS]. Each network is compiled with the check, without it, and with
an operation in its place that passes the gradients on and looks at none. The three take turns, so that
whatever else the machine does meets them alike; the medians are compared. The third is there because the
check also changes what Theano makes of the updates: it hinders it from fusing a gradient's product into a
velocity, and from computing parts of a gradient again in each state. Status 1 says: above 2 % of the step
without it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from trainer import runtime

machine = runtime.prepare()

import numpy as np  # noqa: E402 (Theano is to be made ready first)
import theano  # noqa: E402

from trainer.kernels.finite import CheckFinite  # noqa: E402
from trainer.models import Network, mlp  # noqa: E402
from trainer.objectives import cross_entropy  # noqa: E402
from trainer.training import compile_training_step  # noqa: E402
from trainer.updates import adam, nesterov_momentum  # noqa: E402

LIMIT = 0.02
# A hyperparameter, as in a run; next to 0, so that each step computes with the same numbers.
STILL = theano.shared(np.float32(1e-12))


def mnist(gradients: Any, parameters: Any) -> Any:
    """Give the updates of the larger network."""
    return nesterov_momentum(gradients, parameters, learning_rate=STILL)


def digits(gradients: Any, parameters: Any) -> Any:
    """Give the updates of the default run."""
    return adam(gradients, parameters, learning_rate=STILL)


class PassOn(CheckFinite):
    """Does everything that the check does but the sums."""

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Leave out the sums."""
        return re.sub("total [+]= .*", "", super().c_code(node, name, inputs, outputs, sub))


def compile_step(
    rule: Callable[..., Any], inputs: int, check: type[CheckFinite] | None, **layers: Any
) -> Callable[..., tuple[Any, ...]]:
    """Compile the step of a multilayer perceptron."""
    network = Network(mlp((inputs,), 10, **layers), (inputs,), 0)
    objective = cross_entropy()
    x, targets = network.input_variable(), objective.target_variable()
    loss = objective.training_losses(network.output(x, training=True), targets).mean()
    gradients: Any = theano.grad(loss, network.parameters)
    buffers = network.updates(training=True)
    if check is not None:
        names = [str(each.name) for each in network.parameters]
        norm, *gradients = check(names).make_node(loss, *gradients).outputs
        updates = {**rule(gradients, network.parameters), **buffers}
        return compile_training_step(x, targets, loss, norm, updates)
    updates = {**rule(gradients, network.parameters), **buffers}
    function: Any = theano.function([x, targets], loss, updates=list(updates.items()))
    function.trust_input = True
    return function  # type: ignore[no-any-return]


def seconds(step: Callable[..., Any], batch: Sequence[Any]) -> float:
    """Give the time of one step."""
    began = time.perf_counter()
    step(*batch)
    return time.perf_counter() - began


def measure(
    name: str, rule: Callable[..., Any], inputs: int, examples: int, count: int, **layers: Any
) -> float:
    """Print what the check costs a step of one network, and return it as a share of the step."""
    generator = np.random.default_rng(0)
    batch = (
        generator.normal(size=(examples, inputs)).astype(np.float32),
        generator.integers(0, 10, examples).astype(np.int32),
    )
    steps = [compile_step(rule, inputs, check, **layers) for check in (None, PassOn, CheckFinite)]
    times = np.empty((count, len(steps)))
    for turn in range(count):
        for place in np.roll(range(len(steps)), turn):
            times[turn, place] = seconds(steps[place], batch)
    plain, passing, checking = 1e6 * np.median(times[count // 10 :], axis=0)
    print(
        f"{name}: {plain:,.1f} µs without, {checking:,.1f} µs with it ({checking / plain - 1:+.2%}); "
        f"{passing:,.1f} µs passing on, so {(checking - passing) / plain:+.2%} for the sums",
        flush=True,
    )
    return float(checking / plain - 1)


def main() -> int:
    """Measure both networks."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    print(f"{machine.device}, {machine.threads} threads, {count} steps of each")
    shares = [
        measure(
            "784-800-800-10 with dropout, nesterov_momentum, batch 500",
            *(mnist, 784, 500, count),
            hidden=(800, 800),
            input_dropout=0.2,
            dropout=0.5,
        ),
        measure("digits' default, 64-256-128-10, adam, batch 64", digits, 64, 64, 20 * count),
    ]
    return int(max(shares) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
