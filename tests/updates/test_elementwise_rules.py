"""The later elementwise rules beside their peers, and what is particular to each."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from tests.conftest import ROOT
from tests.updates.following import UNCOMPILED
from trainer import updates

PEERS = json.loads((ROOT / "tests" / "references" / "rules.json").read_text())

SIGNATURES = {
    "adamw": "learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.01",
    "nadam": "learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-08, momentum_decay=0.004",
    "nadamw": "learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-08, momentum_decay=0.004, "
    "weight_decay=0.01",
    "radam": "learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, threshold=4.0",
    "adabelief": "learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-16",
    "yogi": "learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=0.001",
    "adan": "learning_rate=0.001, beta1=0.98, beta2=0.92, beta3=0.99, epsilon=1e-08, weight_decay=0.02",
    "lion": "learning_rate=0.0001, beta1=0.9, beta2=0.99, weight_decay=0.0",
    "signsgd": "learning_rate=0.0001, momentum=0.0",
    "rprop": "learning_rate=0.1, increase=1.2, decrease=0.5, min_factor=1e-05, max_factor=500.0, "
    "backtracking=1.0",
    "rmsprop_centered": "learning_rate=0.0001, rho=0.95, momentum=0.9, epsilon=0.0001",
}


def follow(rule: Any, gradients: Any, start: Any, dtype: str = "float64", **arguments: Any) -> Any:
    """Give the parameter after each of the given gradients; listed arguments change each step."""
    parameter = theano.shared(np.array(start, dtype=dtype))
    gradient = tensor.TensorType(dtype, [False] * parameter.ndim)()
    scheduled = {name: values for name, values in arguments.items() if isinstance(values, list)}
    scalars = {name: theano.shared(np.zeros((), dtype=dtype)) for name in scheduled}
    built = rule([gradient], [parameter], **{**arguments, **scalars})
    train = theano.function([gradient], updates=built, mode=UNCOMPILED)
    values = []
    for step, given in enumerate(gradients):
        for name, scalar in scalars.items():
            scalar.set_value(np.array(scheduled[name][step], dtype=dtype))
        train(np.array(given, dtype=dtype))
        values.append(parameter.get_value())
    return np.array(values)


@pytest.mark.parametrize(
    "case", PEERS["cases"], ids=[f"{case['rule']}, {case['peer']}" for case in PEERS["cases"]]
)
def test_a_rule_moves_as_its_peer_does(case: dict[str, Any]) -> None:
    rule = getattr(updates, case["rule"])
    values = follow(rule, PEERS["gradients"], PEERS["starts"], **case["arguments"], **case["scheduled"])
    # PyTorch keeps one number of NAdam in single precision.
    is_single = case["rule"].startswith("nadam") and case["peer"].startswith("PyTorch")
    tolerance = 1e-8 if is_single else 1e-12
    wanted = np.array(case["values"])
    difference = np.abs(values[[step - 1 for step in PEERS["kept"]]] - wanted).max()
    assert difference < tolerance * np.abs(wanted).max()
    assert np.ptp(wanted, axis=0)[:5].min() > 0.01


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_defaults_are_the_papers(name: str) -> None:
    function = getattr(updates, name)
    assert str(inspect.signature(function)) == f"(loss_or_grads, params, {SIGNATURES[name]})"
    assert function.__name__ == name
    assert "<-" in function.__doc__


@pytest.mark.parametrize("name", SIGNATURES)
def test_updates_keep_types_and_patterns_whatever_floatx_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theano.config, "floatX", "float64")
    row = theano.shared(np.ones((1, 3), dtype="float32"), broadcastable=(True, False), name="row")
    vector = theano.shared(np.ones(2, dtype="float32"), name="vector")
    wide = theano.shared(np.array(0.5))
    built = getattr(updates, name)((row**2).sum() + (vector**2).sum(), [row, vector], learning_rate=wide)
    for variable, update in built.items():
        assert update.dtype == variable.dtype
        assert update.broadcastable == variable.broadcastable
        if variable.ndim:
            assert variable.dtype == "float32"
    variables = theano.gof.graph.ancestors(list(built.values()))
    assert {variable.dtype for variable in variables if variable.ndim > 0}.isdisjoint({"float64"})
    theano.function([], updates=built, mode=UNCOMPILED)()


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_definition_is_a_program_of_scalar_operations(name: str) -> None:
    definition = getattr(updates, name).definition
    inputs = [tensor.fscalar() for _ in ("parameter", "gradient", *definition.states)]
    names = [*(p.name for p in definition.hyperparameters), *definition.shared]
    scalars = {each: tensor.fscalar(each) for each in names}
    outputs = definition(*inputs, **scalars)
    operations = theano.gof.graph.io_toposort([*inputs, *scalars.values()], outputs)
    assert {type(node.op) for node in operations} == {tensor.Elemwise}
    assert {output.dtype for output in outputs} == {"float32"}


@pytest.mark.parametrize("name", SIGNATURES)
def test_an_element_without_gradient_stays_where_it_is(name: str) -> None:
    rule = getattr(updates, name)
    decay = {"weight_decay": 0.0} if "weight_decay" in SIGNATURES[name] else {}
    gradients = [[0.0, 1.0]] * 12
    values = follow(rule, gradients, [1.5, 1.5], "float32", learning_rate=[0.0] + [0.1] * 11, **decay)
    assert np.unique(values[:, 0]).tolist() == [1.5]
    assert values[0, 1] == 1.5
    assert np.all(values[-1, 1] < 1.5)


@pytest.mark.parametrize("name", ["adamw", "nadamw", "lion"])
def test_decay_takes_its_part_of_the_parameter_beside_the_step(name: str) -> None:
    rule = getattr(updates, name)
    gradients = [[0.3, -0.2], [0.1, 0.4]]
    rates = [0.1, 0.05]
    plain, decayed = (
        follow(rule, gradients, [2.0, -1.0], learning_rate=rates, weight_decay=decay) for decay in (0.0, 0.5)
    )
    first = plain[0] - 0.1 * 0.5 * np.array([2.0, -1.0])
    np.testing.assert_allclose(decayed[0], first, rtol=1e-12)
    np.testing.assert_allclose(decayed[1] - first, plain[1] - plain[0] - 0.05 * 0.5 * first, rtol=1e-12)


def test_adan_divides_by_its_decay() -> None:
    [[value]] = follow(updates.adan, [[0.0]], [2.4], learning_rate=0.5, weight_decay=0.4)
    assert value == pytest.approx(2.4 / 1.2, rel=1e-12)


def test_rprop_grows_shrinks_and_takes_back_as_worked_by_hand() -> None:
    # Two steps along, one too far: taken back, and half as far in the next, whatever its sign.
    gradients = [[1.0], [0.5], [-2.0], [3.0], [1.0]]
    values = follow(updates.rprop, gradients, [1.0], learning_rate=0.1)
    np.testing.assert_allclose(values[:, 0], [0.9, 0.78, 0.9, 0.84, 0.768], rtol=1e-12)
    stays = follow(updates.rprop, gradients, [1.0], learning_rate=0.1, backtracking=0.0)
    np.testing.assert_allclose(stays[:, 0], [0.9, 0.78, 0.78, 0.72, 0.648], rtol=1e-12)


def test_rprop_stays_between_its_bounds() -> None:
    along = follow(updates.rprop, [[1.0]] * 6, [0.0], learning_rate=0.5, max_factor=1.3)
    np.testing.assert_allclose(np.diff(along[:, 0])[1:], -0.65, rtol=1e-12)
    there_and_back = follow(
        updates.rprop, [[1.0], [-1.0]] * 6, [0.0], learning_rate=0.5, min_factor=0.4, backtracking=0.0
    )
    np.testing.assert_allclose(np.abs(np.diff(there_and_back[4:, 0])).max(), 0.2, rtol=1e-12)


def test_centered_rmsprop_survives_large_constant_gradients_in_single_precision() -> None:
    gradient = np.linspace(1e4, 2e4, 50)
    values = follow(updates.rmsprop_centered, [gradient] * 400, np.zeros(50), "float32")
    assert np.isfinite(values).all()


def test_radam_without_a_long_memory_is_never_adaptive() -> None:
    small, large = (
        follow(updates.radam, [[size]] * 9, [0.0], "float32", beta1=0.0, beta2=0.6, learning_rate=0.1)
        for size in (1.0, 50.0)
    )
    np.testing.assert_allclose(small[:, 0], -0.1 * np.arange(1, 10), rtol=1e-6)
    np.testing.assert_allclose(large, 50 * small, rtol=1e-6)


@pytest.mark.parametrize(("threshold", "first"), [(4.0, 5), (5.0, 6), (1.0, 5)])
def test_radam_turns_adaptive_at_its_threshold_in_single_precision(threshold: float, first: int) -> None:
    # With beta2 = 0.9999, t gradients count as a little less than t, by up to 0.002 in the first seven.
    arguments = {"beta1": 0.0, "beta2": 0.9999, "threshold": threshold, "learning_rate": 0.1}
    values = follow(updates.radam, [[50.0]] * 7, [0.0], "float32", **arguments)
    changes = np.diff(values[:, 0], prepend=0.0)
    assert (np.abs(changes) < 1).tolist() == [step >= first for step in range(1, 8)]


def test_one_correction_serves_all_parameters_of_nadam() -> None:
    params = [theano.shared(np.zeros(2, dtype="float32"), name=name) for name in ("a", "b")]
    built = updates.nadam([parameter + 1 for parameter in params], params)
    names = ["a", "a.mean", "a.mean_square", "b", "b.mean", "b.mean_square", "step", "correction"]
    assert [variable.name for variable in built] == names
