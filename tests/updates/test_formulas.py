"""Each rule and wrapper follows its published formula, written again in float64 NumPy, for a whole run."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import theano
from theano import tensor

from trainer import updates

State = defaultdict[str, Any]
Step = Callable[[Any, Any, State, int, float], Any]


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


STEPS = 200
SHAPES: dict[str, tuple[int, ...]] = {"vector": (7,), "matrix": (3, 4), "4-D": (2, 1, 3, 2), "scalar": ()}
# The Python linker runs NumPy for each operation: the mathematics without a C compiler's minutes.
UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")


def build(name: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> OrderedDict[Any, Any]:
    if name == "apply_momentum":
        wrapped = updates.rmsprop(gradients, params, learning_rate)
        return updates.apply_momentum(wrapped, params, momentum=0.8)
    if name == "apply_nesterov_momentum":
        wrapped = updates.adam(gradients, params, learning_rate)
        return updates.apply_nesterov_momentum(wrapped, params, momentum=0.8)
    return getattr(updates, name)(gradients, params, learning_rate)  # type: ignore[no-any-return]


def learning_rate_at(step: int) -> float:
    return float(0.02 * (1.5 + np.cos(0.07 * step)))


def errors(dtype: str, shapes: dict[str, tuple[int, ...]], mode: Any) -> dict[str, float]:
    """Follow every rule on random problems of every shape, beside its reference.

    The gradient is ``c * tanh(p) + noise``: it depends on the parameter, so that errors feed back, and it
    differs at every step. The error is, of the worst shape, the largest absolute difference of any element
    at any step, divided by the largest absolute element of the reference at any step.
    """
    random = np.random.default_rng(7)
    learning_rate = theano.shared(np.array(0.0, dtype=dtype))
    starts = {shape: random.normal(size=shapes[shape]) for shape in shapes}
    curvatures = {shape: random.uniform(0.2, 2.0, size=shapes[shape]) for shape in shapes}
    noises = {shape: tensor.TensorType(dtype, [False] * len(shapes[shape]))() for shape in shapes}
    params: dict[tuple[str, str], Any] = {}
    all_updates: OrderedDict[Any, Any] = OrderedDict()
    for name in RULES:
        rule_params = {shape: theano.shared(starts[shape].astype(dtype), name=shape) for shape in shapes}
        gradients = [
            curvatures[shape].astype(dtype) * tensor.tanh(rule_params[shape]) + noises[shape]
            for shape in shapes
        ]
        all_updates.update(build(name, gradients, list(rule_params.values()), learning_rate))
        params.update({(name, shape): rule_params[shape] for shape in shapes})
    train = theano.function(list(noises.values()), updates=all_updates, mode=mode)

    expected = {(name, shape): starts[shape].astype(dtype).astype("float64") for name, shape in params}
    states: dict[tuple[str, str], State] = defaultdict(lambda: defaultdict(float))
    differences = dict.fromkeys(params, 0.0)
    sizes = dict.fromkeys(params, 0.0)
    for step in range(STEPS):
        learning_rate.set_value(np.array(learning_rate_at(step), dtype=dtype))
        noise = {shape: random.normal(size=shapes[shape]).astype(dtype) for shape in shapes}
        train(*noise.values())
        for (name, shape), parameter in params.items():
            key = (name, shape)
            curvature = curvatures[shape].astype(dtype).astype("float64")
            gradient = curvature * np.tanh(expected[key]) + noise[shape]
            rule = RULES[name]
            rate = learning_rate_at(step)
            expected[key] = rule(expected[key], gradient, states[key], step + 1, rate)
            differences[key] = max(differences[key], np.abs(parameter.get_value() - expected[key]).max())
            sizes[key] = max(sizes[key], np.abs(expected[key]).max())
    return {name: max(differences[name, s] / sizes[name, s] for s in shapes) for name in RULES}


def test_rules_and_wrappers_follow_their_formulas_in_float64() -> None:
    worst = errors("float64", SHAPES, UNCOMPILED)
    assert {name: error for name, error in worst.items() if not error < 1e-10} == {}


def test_rules_and_wrappers_follow_their_formulas_in_float32() -> None:
    worst = errors("float32", SHAPES, UNCOMPILED)
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}


def test_rules_and_wrappers_follow_their_formulas_compiled() -> None:
    worst = errors("float32", {"matrix": (3, 4)}, None)
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}
