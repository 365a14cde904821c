"""Random problems on which update rules are followed beside references in float64 NumPy."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import theano
from theano import tensor

State: TypeAlias = "defaultdict[str, Any]"
Step: TypeAlias = Callable[[Any, Any, State, int, float], Any]
"""From the parameter, its gradient, its states, the number of the update and the learning rate."""
Build: TypeAlias = Callable[[str, list[Any], list[Any], Any], "OrderedDict[Any, Any]"]
"""From a name, gradients, parameters and the learning rate to the updates under test."""

STEPS = 200
SHAPES: dict[str, tuple[int, ...]] = {"vector": (7,), "matrix": (3, 4), "4-D": (2, 1, 3, 2), "scalar": ()}
# The Python linker runs NumPy for each operation: the mathematics without a C compiler's minutes.
UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")


def learning_rate_at(step: int) -> float:
    return float(0.02 * (1.5 + np.cos(0.07 * step)))


def worst_errors(
    rules: Mapping[str, Step],
    build: Build,
    dtype: str,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    mode: Any = UNCOMPILED,
) -> dict[str, float]:
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
    for name in rules:
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
            rule = rules[name]
            rate = learning_rate_at(step)
            expected[key] = rule(expected[key], gradient, states[key], step + 1, rate)
            differences[key] = max(differences[key], np.abs(parameter.get_value() - expected[key]).max())
            sizes[key] = max(sizes[key], np.abs(expected[key]).max())
    return {name: max(differences[name, s] / sizes[name, s] for s in shapes) for name in rules}
