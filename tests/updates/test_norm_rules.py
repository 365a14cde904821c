"""Rules with norms, states of other shapes, or parameters together, against NumPy."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import theano

from tests.updates.following import STEPS, UNCOMPILED, State, Step, learning_rate_at, worst_errors
from trainer import updates

WARMUP = 30


def lars(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    decay, size = 0.0005, np.linalg.norm(np.ravel(p))
    local = 0.2 * size / (np.linalg.norm(np.ravel(g)) + decay * size)
    s["v"] = 0.9 * s["v"] + lr * local * (g + decay * p)
    return p - s["v"]


def lamb(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    r = s["m"] / (1 - 0.9**t) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-6)
    u = r + 0.01 * p
    return p - lr * np.linalg.norm(np.ravel(p)) / np.linalg.norm(np.ravel(u)) * u


def rms(x: Any) -> Any:
    return np.sqrt(np.mean(x**2))


def adafactor(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    decay, squares = 1 - t**-0.8, g**2 + 1e-30
    if p.ndim < 2:
        s["v"] = decay * s["v"] + (1 - decay) * squares
        v = s["v"]
    else:  # The last two axes of every shape here are its longest; the paper's sums, matrix by matrix.
        s["r"] = decay * s["r"] + (1 - decay) * squares.sum(axis=-1)
        s["c"] = decay * s["c"] + (1 - decay) * squares.sum(axis=-2)
        v = np.einsum("...i,...j->...ij", s["r"], s["c"]) / s["r"].sum(axis=-1)[..., None, None]
    u = g / np.sqrt(v)
    u = u / max(1.0, rms(u))
    return p - max(1e-3, rms(p)) * min(4 * lr, 1 / np.sqrt(t)) * u


def adafactor_absolute(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["v"] = (1 - t**-0.8) * s["v"] + t**-0.8 * (g**2 + 1e-30)
    u = g / np.sqrt(s["v"])
    return p - lr * u / max(1.0, rms(u) / 0.5)


def sm3(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    moved = np.array(p)
    new: dict[str, float] = {}
    for index in np.ndindex(p.shape):
        slices = [(axis, at) for axis, at in enumerate(index)] or [(0, 0)]
        nu = min(s[str(one)] for one in slices) + g[index] ** 2
        moved[index] = p[index] - lr * g[index] / np.sqrt(nu)
        for one in slices:
            new[str(one)] = max(new.get(str(one), 0.0), nu)
    s.update(new)
    return moved


def muon(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    if p.ndim < 2:
        s["m"] = 0.9 * s["m"] + 0.1 * g
        s["v"] = 0.95 * s["v"] + 0.05 * g**2
        m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.95**t)
        return p - 0.01 * (m / (np.sqrt(v) + 1e-10) + 0.1 * p)
    s["b"] = 0.95 * s["b"] + g
    d = (g + 0.95 * s["b"]).reshape(len(p), -1)
    # On singular values alone: the polynomial leaves the singular vectors as they are.
    left, values, right = np.linalg.svd(d / (np.linalg.norm(d) + 1e-7), full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    inputs, outputs = d.shape if p.ndim == 2 else d.shape[::-1]
    step = max(1.0, outputs / inputs) ** 0.5 * (left * values) @ right
    return p - lr * (step.reshape(p.shape) + 0.1 * p)


def schedule_free(p: Any, direction: Any, s: State, t: int, lr: float) -> Any:
    if t == 1:
        s["z"] = s["x"] = p
    rate = lr * min(1.0, t / WARMUP)
    s["z"] = s["z"] - rate * (direction + 0.01 * p)
    s["sum"] += rate**2
    c = rate**2 / s["sum"]
    s["x"] = (1 - c) * s["x"] + c * s["z"]
    return (1 - 0.9) * s["z"] + 0.9 * s["x"]


def schedule_free_adamw(p: Any, g: Any, s: State, t: int, lr: float) -> Any:
    s["v"] = 0.999 * s["v"] + 0.001 * g**2
    return schedule_free(p, g / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8), s, t, lr)


RULES: dict[str, Step] = {
    "lars": lars,
    "lamb": lamb,
    "adafactor": adafactor,
    "sm3": sm3,
    "muon": muon,
    "schedule_free_sgd": schedule_free,
    "schedule_free_adamw": schedule_free_adamw,
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "lars": {"trust_coefficient": 0.2},
    "muon": {"adamw_learning_rate": 0.01, "weight_decay": 0.1},
    "schedule_free_sgd": {"warmup_steps": WARMUP, "weight_decay": 0.01},
    "schedule_free_adamw": {"warmup_steps": WARMUP, "weight_decay": 0.01},
}


def build(name: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> OrderedDict[Any, Any]:
    rule = getattr(updates, name)
    if name == "adafactor":  # Above and below 1 / sqrt(t) in the course of the steps.
        learning_rate = 4 * learning_rate
    return rule(gradients, params, learning_rate, **ARGUMENTS.get(name, {}))  # type: ignore[no-any-return]


def test_rules_follow_their_formulas_in_float64() -> None:
    worst = worst_errors(RULES, build, "float64")
    assert {name: error for name, error in worst.items() if not error < 1e-10} == {}


def test_rules_follow_their_formulas_in_float32() -> None:
    worst = worst_errors(RULES, build, "float32")
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}


def test_rules_follow_their_formulas_compiled() -> None:
    matrices = {name: RULES[name] for name in ("lamb", "adafactor", "muon")}
    worst = worst_errors(matrices, build, "float32", {"matrix": (3, 4)}, None)
    assert {name: error for name, error in worst.items() if not error < 1e-4} == {}


def test_adafactor_without_relative_steps_and_scale_follows_its_formula() -> None:
    def absolute(_: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> Any:
        return updates.adafactor(
            gradients, params, learning_rate, max_rms=0.5, relative_step=False, scale_parameter=False
        )

    worst = worst_errors({"adafactor": adafactor_absolute}, absolute, "float64", {"vector": (7,)})
    assert worst["adafactor"] < 1e-10


# While d is small, a float32 parameter holds few digits of its distance from the start.
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-3)])
def test_prodigy_follows_its_formula_over_all_parameters(dtype: str, tolerance: float) -> None:
    random = np.random.default_rng(3)
    values = [random.normal(size=shape).astype(dtype) for shape in ((3, 4), (5,))]
    params = [theano.shared(value, name=f"p{at}") for at, value in enumerate(values)]
    signals = [theano.shared(np.zeros_like(value)) for value in values]
    rate = theano.shared(np.array(0.0, dtype=dtype))
    built = updates.prodigy(signals, params, rate, weight_decay=0.01, d0=1e-4)
    train = theano.function([], updates=built, mode=UNCOMPILED)
    x = [value.astype("float64") for value in values]
    x0, r, d, b = list(x), 0.0, 1e-4, np.sqrt(0.999)
    m, v, s = ([np.zeros_like(one) for one in x] for _ in range(3))
    for step in range(STEPS):
        lr = 50 * learning_rate_at(step)
        g = [np.tanh(one - 1) + random.normal(size=one.shape) / 4 for one in x]
        for signal, one in zip(signals, g, strict=True):
            signal.set_value(one.astype(dtype))
        rate.set_value(np.array(lr, dtype=dtype))
        train()
        r = b * r + (1 - b) * lr * d**2 * sum(((a - c) * e).sum() for a, c, e in zip(x0, x, g, strict=True))
        for at, one in enumerate(g):
            m[at] = 0.9 * m[at] + 0.1 * d * one
            v[at] = 0.999 * v[at] + 0.001 * d**2 * one**2
            s[at] = b * s[at] + (1 - b) * lr * d**2 * one
            x[at] = x[at] - lr * d * (m[at] / (np.sqrt(v[at]) + d * 1e-8) + 0.01 * x[at])
        d = max(d, r / sum(abs(one).sum() for one in s))
        for parameter, one in zip(params, x, strict=True):
            np.testing.assert_allclose(parameter.get_value(), one, atol=tolerance, rtol=tolerance)
    [estimate] = [variable.get_value() for variable in built if variable.name == "d"]
    assert estimate == pytest.approx(d, rel=tolerance)
    assert d > 0.01


def states_of(rule: Any, **arguments: Any) -> dict[str, Any]:
    params = [
        theano.shared(np.ones(shape, dtype="float32"), name=name)
        for name, shape in {"W": (5, 3), "F": (4, 2, 1, 3), "b": (3,), "s": ()}.items()
    ]
    built = rule([parameter * 2 for parameter in params], params, **arguments)
    theano.function([], updates=built, mode=UNCOMPILED)()
    return {
        variable.name: (variable.dtype, variable.get_value().shape)
        for variable in built
        if variable not in params
    }


def test_factored_rules_keep_rows_and_columns_alone() -> None:
    assert states_of(updates.adafactor) == {
        "W.row": ("float32", (5, 1)),
        "W.column": ("float32", (1, 3)),
        "F.row": ("float32", (4, 2, 1, 1)),
        "F.column": ("float32", (1, 2, 1, 3)),
        "b.mean_square": ("float32", (3,)),
        "s.mean_square": ("float32", ()),
        "step": ("float32", ()),
    }
    assert states_of(updates.sm3, learning_rate=0.1) == {
        "W.axis_0": ("float32", (5, 1)),
        "W.axis_1": ("float32", (1, 3)),
        "F.axis_0": ("float32", (4, 1, 1, 1)),
        "F.axis_1": ("float32", (1, 2, 1, 1)),
        "F.axis_2": ("float32", (1, 1, 1, 1)),
        "F.axis_3": ("float32", (1, 1, 1, 3)),
        "b.axis_0": ("float32", (3,)),
        "s.accumulator": ("float32", ()),
    }
    assert list(states_of(updates.muon)) == [
        *("W.velocity", "F.velocity", "b.mean", "b.mean_square", "s.mean", "s.mean_square", "step")
    ]


EVERY = ["lamb", "lars", "adafactor", "sm3", "muon", "prodigy", "schedule_free_sgd", "schedule_free_adamw"]


@pytest.mark.parametrize("name", EVERY)
def test_updates_keep_types_and_patterns_whatever_floatx_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theano.config, "floatX", "float64")
    params = [
        theano.shared(np.ones((1, 3), dtype="float32"), broadcastable=(True, False), name="row"),
        theano.shared(np.ones((1, 1), dtype="float32"), name="single"),
        theano.shared(np.array(2.0, dtype="float32"), name="scalar"),
    ]
    built = getattr(updates, name)([parameter * 2 for parameter in params], params, learning_rate=1)
    for variable, update in built.items():
        assert update.type == variable.type
    variables = theano.gof.graph.ancestors(list(built.values()))
    assert {variable.dtype for variable in variables if variable.ndim > 0}.isdisjoint({"float64"})
    theano.function([], updates=built, mode=UNCOMPILED)()
    assert all(np.isfinite(variable.get_value()).all() for variable in built)


@pytest.mark.parametrize("name", EVERY)
def test_zero_gradients_and_zero_parameters_give_no_nan_and_zeros_can_leave(name: str) -> None:
    params = [theano.shared(np.zeros(shape), name=str(shape)) for shape in ((2, 3), (3,), ())]
    signals = [theano.shared(np.zeros_like(parameter.get_value())) for parameter in params]
    built = getattr(updates, name)(signals, params, learning_rate=0.1)
    train = theano.function([], updates=built, mode=UNCOMPILED)
    train()
    assert all((parameter.get_value() == 0).all() for parameter in params)
    for signal in signals:
        signal.set_value(np.ones_like(signal.get_value()))
    train()
    train()
    assert all(np.isfinite(variable.get_value()).all() for variable in built)
    assert all((parameter.get_value() < 0).all() for parameter in params)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free_rules_say_what_evaluation_must_use(name: str) -> None:
    start = np.array([1.0, -3.0])
    weights = theano.shared(start, name="weights")
    built = getattr(updates, name)((weights**2).sum(), [weights], learning_rate=0.1)
    [average] = built.evaluated.values()
    assert list(built.evaluated) == [weights]
    assert average.name == "weights.average"
    np.testing.assert_array_equal(average.get_value(), start)
    train = theano.function([], updates=built, mode=UNCOMPILED)
    learning = [train() for _ in range(100)]
    assert len(learning) == 100
    assert not np.allclose(average.get_value(), weights.get_value())
    assert updates.apply_momentum(built, [weights]).evaluated == built.evaluated  # type: ignore[attr-defined]
    assert updates.adam([start], [weights]).evaluated == {}  # type: ignore[attr-defined]


def test_a_learning_rate_that_begins_at_zero_gives_the_average_no_weight() -> None:
    weights, rate = theano.shared(np.array([1.0]), name="weights"), theano.shared(0.0)
    built = updates.schedule_free_sgd([weights * 1], [weights], rate)
    train = theano.function([], updates=built, mode=UNCOMPILED)
    train()
    np.testing.assert_array_equal(weights.get_value(), [1.0])
    rate.set_value(0.5)
    train()
    # The first iterate with a weight is the whole average: x = z = 1 - 0.5 * 1.
    assert {variable.name: variable.get_value().tolist() for variable in built} == {
        "weights": [0.5],
        "weights.base": [0.5],
        "weights.average": [0.5],
        "step": 2.0,
        "weight_sum": 0.25,
    }


def test_muon_refuses_a_negative_number_of_iterations() -> None:
    with pytest.raises(ValueError, match="iterations must be at least 0; it is -1"):
        updates.muon([np.ones((2, 2))], [theano.shared(np.ones((2, 2)))], iterations=-1)
