"""Each rule and wrapper follows its published formula, written again in float64 NumPy, for a whole run."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from tests.updates.following import State, Step, worst_errors
from trainer import updates


def sgd(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    return p - lr * g


def momentum(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["v"] = 0.9 * s["v"] - lr * g
    return p + s["v"]


def nesterov_momentum(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["v"] = 0.9 * s["v"] - lr * g
    return p + 0.9 * s["v"] - lr * g


def adagrad(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["a"] = s["a"] + g**2
    return p - lr * g / np.sqrt(s["a"] + 1e-6)


def rmsprop(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["r"] = 0.9 * s["r"] + 0.1 * g**2
    return p - lr * g / np.sqrt(s["r"] + 1e-6)


def adadelta(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["r"] = 0.95 * s["r"] + 0.05 * g**2
    u = g * np.sqrt(s["s"] + 1e-6) / np.sqrt(s["r"] + 1e-6)
    s["s"] = 0.95 * s["s"] + 0.05 * u**2
    return p - lr * u


def adam(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    rate = lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return p - rate * s["m"] / (np.sqrt(s["v"]) + 1e-8)


def adamax(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["u"] = np.maximum(0.999 * s["u"], np.abs(g))
    return p - lr / (1 - 0.9**t) * s["m"] / (s["u"] + 1e-8)


def amsgrad(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    s["w"] = np.maximum(s["w"], s["v"])
    rate = lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return p - rate * s["m"] / (np.sqrt(s["w"]) + 1e-8)


def with_momentum(rule: Step) -> Step:
    def step(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
        s["w.v"] = 0.8 * s["w.v"] + rule(p, g, s, t, lr) - p
        return p + s["w.v"]

    return step


def with_nesterov_momentum(rule: Step) -> Step:
    def step(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
        change = rule(p, g, s, t, lr) - p
        s["w.v"] = 0.8 * s["w.v"] + change
        return p + 0.8 * s["w.v"] + change

    return step


RULES: dict[str, Step] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov_momentum": nesterov_momentum,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adadelta": adadelta,
    "adam": adam,
    "adamax": adamax,
    "amsgrad": amsgrad,
    "apply_momentum": with_momentum(rmsprop),
    "apply_nesterov_momentum": with_nesterov_momentum(adam),
}


def build(name: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> OrderedDict[Any, Any]:
    if name == "apply_momentum":
        wrapped = updates.rmsprop(gradients, params, learning_rate)
        return updates.apply_momentum(wrapped, params, momentum=0.8)
    if name == "apply_nesterov_momentum":
        wrapped = updates.adam(gradients, params, learning_rate)
        return updates.apply_nesterov_momentum(wrapped, params, momentum=0.8)
    return getattr(updates, name)(gradients, params, learning_rate)  # type: ignore[no-any-return]


def test_rules_and_wrappers_follow_their_formulas_in_float64() -> None:
    worst = worst_errors(RULES, build, "float64")
    assert {name: error for name, error in worst.items() if not error < 1e-10} == {}


def test_rules_and_wrappers_follow_their_formulas_in_float32() -> None:
    worst = worst_errors(RULES, build, "float32")
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}


def test_rules_and_wrappers_follow_their_formulas_compiled() -> None:
    worst = worst_errors(RULES, build, "float32", {"matrix": (3, 4)}, None)
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}
