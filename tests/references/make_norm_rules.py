"""Make norm_rules.json: what Optax, PyTorch and two papers' own programs do with given gradients, in float64.

    python tests/references/make_norm_rules.py      # with jax, optax, torch, schedulefree and prodigyopt

The tests read the table and need none of them. All rules meet the gradient
``curvature * tanh(p - target) + cos(curvature * step) / 2``, so that errors feed back and none vanishes. A
case holds the parameters after some of the updates, and with ``.average`` behind their names those that are
to be evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import prodigyopt
import schedulefree
import torch

jax.config.update("jax_enable_x64", True)

STEPS, KEPT = 200, (1, 2, 10, 50, 200)
SHAPES = {"matrix": (3, 4), "tall": (5, 2), "filters": (2, 3, 1, 2), "vector": (4,)}
WARMUP = 20
Values = dict[str, Any]


def problem() -> dict[str, Values]:
    # This seed begins with no small gradient: Optax's epsilon in sm3, which the paper lacks, matters there.
    random = np.random.default_rng(70)

    def values(draw: Callable[[tuple[int, ...]], Any]) -> Values:
        return {name: np.round(draw(shape), 3) for name, shape in SHAPES.items()}

    return {
        "start": values(lambda shape: random.normal(size=shape)),
        "target": values(lambda shape: random.normal(size=shape)),
        "curvature": values(lambda shape: random.uniform(0.2, 2.0, size=shape)),
    }


PROBLEM = problem()


def gradients(point: Values, step: int) -> Values:
    curvature, target = PROBLEM["curvature"], PROBLEM["target"]
    return {
        name: curvature[name] * np.tanh(value - target[name]) + np.cos(curvature[name] * step) / 2
        for name, value in point.items()
    }


def as_lists(point: Values) -> dict[str, Any]:
    return {name: np.asarray(value, "float64").tolist() for name, value in point.items()}


def with_optax(transformation: Any, evaluated: Any = None, keep: Any = SHAPES) -> dict[str, Any]:
    point = {name: jax.numpy.asarray(PROBLEM["start"][name]) for name in keep}
    state, kept, update = transformation.init(point), {}, jax.jit(transformation.update)
    for step in range(1, STEPS + 1):
        given = {name: jax.numpy.asarray(value) for name, value in gradients(point, step).items()}
        changes, state = update(given, state, point)
        point = optax.apply_updates(point, changes)
        if step in KEPT:
            kept[str(step)] = as_lists(point)
            if evaluated is not None:
                kept[str(step)] |= {
                    f"{name}.average": value for name, value in as_lists(evaluated(state, point)).items()
                }
    return kept


def with_torch(make: Callable[[list[Any]], Any], keep: Any = SHAPES, evaluate: bool = False) -> Any:
    tensors = {name: torch.tensor(PROBLEM["start"][name], requires_grad=True) for name in keep}
    optimizer, kept = make(list(tensors.values())), {}
    if evaluate:
        optimizer.train()

    def point() -> dict[str, Any]:
        return as_lists({name: tensor.detach().numpy() for name, tensor in tensors.items()})

    for step in range(1, STEPS + 1):
        values = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        for name, value in gradients(values, step).items():
            tensors[name].grad = torch.tensor(value)
        optimizer.step()
        if step in KEPT:
            kept[str(step)] = point()
            if evaluate:
                optimizer.eval()
                kept[str(step)] |= {f"{name}.average": value for name, value in point().items()}
                optimizer.train()
    return kept


def cases() -> dict[str, Any]:
    averages = optax.contrib.schedule_free_eval_params
    flat, matrices = ("matrix", "tall", "vector"), ("matrix", "tall")
    return {
        "lamb, optax": with_optax(optax.lamb(0.02, weight_decay=0.01)),
        "lars, optax": with_optax(optax.lars(0.1, trust_coefficient=0.2)),
        "adafactor, optax": with_optax(optax.adafactor(0.02, min_dim_size_to_factor=1)),
        "adafactor, torch": with_torch(
            lambda tensors: torch.optim.Adafactor(tensors, lr=0.02, weight_decay=0.0), flat
        ),
        "sm3, optax": with_optax(optax.sm3(0.1)),
        "schedule_free_sgd, optax": with_optax(
            optax.contrib.schedule_free_sgd(0.5, warmup_steps=None, weight_decay=0.01), averages
        ),
        "schedule_free_sgd, authors": with_torch(
            lambda tensors: schedulefree.SGDScheduleFree(
                tensors, lr=0.5, warmup_steps=WARMUP, weight_decay=0.01
            ),
            evaluate=True,
        ),
        "schedule_free_adamw, optax": with_optax(
            optax.contrib.schedule_free_adamw(0.05, warmup_steps=None, weight_decay=0.01), averages
        ),
        "schedule_free_adamw, authors": with_torch(
            lambda tensors: schedulefree.AdamWScheduleFree(
                tensors, lr=0.05, warmup_steps=WARMUP, weight_decay=0.01
            ),
            evaluate=True,
        ),
        # The least epsilon: this program takes the new d beside it, the paper the old one.
        "prodigy, authors": with_torch(
            lambda tensors: prodigyopt.Prodigy(tensors, lr=1.0, d0=1e-3, weight_decay=0.01, eps=1e-20)
        ),
        "muon, optax": with_optax(optax.contrib.muon(0.02, eps=1e-7, nesterov=False), keep=matrices),
        # In PyTorch's layout, outputs by inputs, and reckoned in bfloat16.
        "muon, torch": with_torch(
            lambda tensors: torch.optim.Muon(tensors, lr=0.02, weight_decay=0.01), matrices
        ),
    }


def main() -> None:
    setup = json.dumps({name: as_lists(values) for name, values in PROBLEM.items()})
    lines = [f"    {json.dumps(name)}: {json.dumps(case)}" for name, case in cases().items()]
    text = f'{{\n  "problem": {setup},\n  "cases": {{\n' + ",\n".join(lines) + "\n  }\n}\n"
    Path(__file__).with_name("norm_rules.json").write_text(text)


if __name__ == "__main__":
    main()
