"""Make rules.json: how update rules of PyTorch and Optax move six numbers, in float64.

    python tests/references/make_rules.py

Needs PyTorch and Optax (made with 2.13.0 and 0.2.8 on JAX 0.10.2, for the CPU), and nothing of this project.

All cases share the starting values, a gradient for each step (of the first value always about the same, of
the others more and more by chance, of the last often 0), and a learning rate for each step. Each case says
what it is in this project's terms: the rule, its arguments, those of its hyperparameters that differ from
step to step, and then the values after each of the listed steps. Where a peer's convention is another, the
case is made of such arguments that both must agree, and a remark here says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import torch

jax.config.update("jax_enable_x64", True)

STEPS = 120
KEPT = [1, 2, 3, 4, 5, 6, 7, 10, 20, 50, 100, 120]
RANDOM = np.random.default_rng(41)
STARTS = [1.0, -2.0, 0.5, 0.0, 3.0, -0.25]
DRIFT, NOISE = np.array([1.0, -0.5, 0.3, 0.1, 0.0, 0.0]), np.array([0.01, 0.3, 0.5, 1.0, 2.0, 1.0])
GRADIENTS = np.round(DRIFT + NOISE * RANDOM.normal(size=(STEPS, 6)), 3)
GRADIENTS[RANDOM.uniform(size=STEPS) < 0.6, 5] = 0.0
RATES = [round(0.02 * (1.5 + float(np.cos(0.07 * step))), 5) for step in range(STEPS)]
TINY = 1e-30

Case = dict[str, Any]


def case(rule: str, peer: str, values: list[list[float]], rates: Any, **arguments: Any) -> Case:
    constant = {name: value for name, value in arguments.items() if not isinstance(value, list)}
    scheduled = {name: value for name, value in arguments.items() if isinstance(value, list)}
    return {
        "rule": rule,
        "peer": peer,
        "arguments": constant if isinstance(rates, list) else {"learning_rate": rates, **constant},
        "scheduled": {"learning_rate": rates, **scheduled} if isinstance(rates, list) else scheduled,
        "values": [values[step - 1] for step in KEPT],
    }


def in_torch(optimizer: Callable[..., Any], rates: list[float], **arguments: Any) -> list[list[float]]:
    parameter = torch.tensor(STARTS, dtype=torch.float64, requires_grad=True)
    moving = optimizer([parameter], lr=rates[0], **arguments)
    values = []
    for rate, gradient in zip(rates, GRADIENTS, strict=True):
        moving.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(gradient)
        moving.step()
        values.append(parameter.tolist())
    return values


def in_optax(optimizer: Callable[..., Any], rates: list[float], **arguments: Any) -> list[list[float]]:
    table = jax.numpy.array(rates)
    moving = optimizer(learning_rate=lambda count: table[count], **arguments)
    parameter = jax.numpy.array(STARTS, dtype=jax.numpy.float64)
    state = moving.init(parameter)
    values = []
    for gradient in GRADIENTS:
        change, state = moving.update(jax.numpy.array(gradient), state, parameter)
        parameter = optax.apply_updates(parameter, change)
        values.append(parameter.tolist())
    return values


def yogi_from_zero(learning_rate: Any) -> Any:
    # Optax starts the states at 1e-6 of its own accord, the paper at 0.
    yogi = optax.scale_by_yogi(initial_accumulator_value=TINY)
    return optax.chain(yogi, optax.scale_by_learning_rate(learning_rate))


def of_torch() -> list[Case]:
    peer = f"PyTorch {torch.__version__.partition('+')[0]}"
    constant, optim = [0.05] * STEPS, torch.optim
    return [
        case("adamw", peer, in_torch(optim.AdamW, RATES, weight_decay=0.3), RATES, weight_decay=0.3),
        case("nadam", peer, in_torch(optim.NAdam, RATES), RATES),
        case(
            "nadamw",
            peer,
            in_torch(optim.NAdam, RATES, weight_decay=0.3, decoupled_weight_decay=True),
            RATES,
            weight_decay=0.3,
        ),
        case("radam", peer, in_torch(optim.RAdam, RATES), RATES, threshold=5.0),
        # The bounds of PyTorch are step sizes, and it takes no step back.
        case(
            "rprop",
            peer,
            in_torch(optim.Rprop, constant, step_sizes=(0.005, 0.2)),
            constant[0],
            min_factor=0.1,
            max_factor=4.0,
            backtracking=0.0,
        ),
        # Epsilon below the root and beside it agree where there is none to speak of, and the places of the
        # learning rate where it does not change.
        case(
            "rmsprop_centered",
            peer,
            in_torch(optim.RMSprop, constant, alpha=0.95, momentum=0.9, eps=TINY, centered=True),
            constant[0],
            epsilon=TINY,
        ),
    ]


def of_optax() -> list[Case]:
    peer = f"Optax {optax.__version__}"
    # Both of Optax's corrections of the bias together are another learning rate and another epsilon.
    roots = [float(np.sqrt(1 - 0.999**step)) for step in range(1, STEPS + 1)]
    corrected = [RATES[step] * roots[step] / (1 - 0.9 ** (step + 1)) for step in range(STEPS)]
    return [
        case("nadam", peer, in_optax(optax.nadam, RATES), RATES, momentum_decay=1e4),
        case(
            "nadamw",
            peer,
            in_optax(optax.nadamw, RATES, weight_decay=0.3),
            RATES,
            weight_decay=0.3,
            momentum_decay=1e4,
        ),
        # Epsilon stands beside the corrected root in Optax.
        case("radam", peer, in_optax(optax.radam, RATES, eps=TINY, threshold=4.0), RATES, epsilon=TINY),
        case("adabelief", peer, in_optax(optax.adabelief, RATES), RATES),
        case(
            "yogi", peer, in_optax(yogi_from_zero, RATES), corrected, epsilon=[1e-3 * root for root in roots]
        ),
        case("lion", peer, in_optax(optax.lion, RATES, weight_decay=0.3), RATES, weight_decay=0.3),
        case("signsgd", peer, in_optax(optax.sign_sgd, RATES), RATES),
        # With both betas alike and no decay, Lion is Signum.
        case(
            "signsgd", peer, in_optax(optax.lion, RATES, b1=0.9, b2=0.9, weight_decay=0), RATES, momentum=0.9
        ),
        case(
            "rmsprop_centered",
            peer,
            in_optax(optax.rmsprop, RATES, decay=0.95, eps=1e-4, centered=True, momentum=0.9),
            RATES,
        ),
        # The weight of a gradient's difference is beta2 in the paper's program and 1 - beta2 in Optax, the
        # decay a proximal step in the paper and a plain one in Optax.
        case(
            "adan",
            peer,
            in_optax(optax.adan, RATES, b2=0.5, eps_root=0.0),
            RATES,
            beta2=0.5,
            weight_decay=0.0,
        ),
    ]


def main() -> None:
    shared = {"starts": STARTS, "kept": KEPT, "gradients": GRADIENTS.tolist()}
    lines = [f"  {json.dumps(name)}: {json.dumps(content)}" for name, content in shared.items()]
    cases = [f"    {json.dumps(content)}" for content in of_torch() + of_optax()]
    text = "{\n" + ",\n".join(lines) + ',\n  "cases": [\n' + ",\n".join(cases) + "\n  ]\n}\n"
    Path(__file__).with_name("rules.json").write_text(text)


if __name__ == "__main__":
    main()
