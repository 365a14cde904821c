"""What a rule gives: its signature, its updates' types and order, its states."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import updates

UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")


@pytest.mark.parametrize(
    ("rule", "wrapper"),
    [
        (updates.momentum, updates.apply_momentum),
        (updates.nesterov_momentum, updates.apply_nesterov_momentum),
    ],
)
def test_momentum_equals_the_wrapper_around_sgd(rule: Any, wrapper: Any) -> None:
    start = np.array([1.0, -2.0, 0.5])
    one, other = theano.shared(start), theano.shared(start)
    both = rule((one**4).sum(), [one], 0.01, momentum=0.7)
    both.update(wrapper(updates.sgd((other**4).sum(), [other], 0.01), momentum=0.7))
    train = theano.function([], updates=both, mode=UNCOMPILED)
    for _ in range(50):
        train()
    np.testing.assert_allclose(one.get_value(), other.get_value(), rtol=1e-12)
    assert np.abs(one.get_value() - start).max() > 0.1


SIGNATURES = {
    "sgd": "(loss_or_grads, params, learning_rate)",
    "momentum": "(loss_or_grads, params, learning_rate, momentum=0.9)",
    "nesterov_momentum": "(loss_or_grads, params, learning_rate, momentum=0.9)",
    "adagrad": "(loss_or_grads, params, learning_rate=1.0, epsilon=1e-06)",
    "rmsprop": "(loss_or_grads, params, learning_rate=1.0, rho=0.9, epsilon=1e-06)",
    "adadelta": "(loss_or_grads, params, learning_rate=1.0, rho=0.95, epsilon=1e-06)",
    "adam": "(loss_or_grads, params, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)",
    "adamax": "(loss_or_grads, params, learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-08)",
    "amsgrad": "(loss_or_grads, params, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)",
    "apply_momentum": "(updates, params=None, momentum=0.9)",
    "apply_nesterov_momentum": "(updates, params=None, momentum=0.9)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_published_ones(name: str) -> None:
    function = getattr(updates, name)
    assert str(inspect.signature(function)) == SIGNATURES[name]
    assert function.__name__ == name
    assert "<-" in function.__doc__


@pytest.mark.parametrize("name", SIGNATURES)
def test_updates_keep_types_and_patterns_whatever_floatx_is(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theano.config, "floatX", "float64")
    row = theano.shared(np.ones((1, 3), dtype="float32"), broadcastable=(True, False), name="row")
    scalar = theano.shared(np.array(2.0, dtype="float32"), name="scalar")
    loss = (row**2).sum() + scalar**2
    rule = updates.adam if name.startswith("apply") else getattr(updates, name)
    built = rule(loss, [row, scalar], learning_rate=1)
    if name.startswith("apply"):
        built = getattr(updates, name)(built, momentum=0.5)
    assert isinstance(built, OrderedDict)
    for variable, update in built.items():
        assert (variable.dtype, update.dtype) == ("float32", "float32")
        assert update.broadcastable == variable.broadcastable
    states = [variable for variable in built if (variable.name or "").startswith("row.")]
    assert {variable.broadcastable for variable in states} <= {(True, False)}
    theano.function([], updates=built, mode=UNCOMPILED)()


@pytest.mark.parametrize("learning_rate", [1, np.float64(0.1), theano.shared(np.array(0.1))])
def test_no_tensor_is_reckoned_in_a_wider_type_than_its_parameter(learning_rate: Any) -> None:
    weights = theano.shared(np.ones(3, dtype="float32"))
    built = updates.apply_momentum(updates.adam([weights * 2], [weights], learning_rate), [weights])
    variables = theano.gof.graph.ancestors(list(built.values()))
    assert {variable.dtype for variable in variables if variable.ndim > 0}.isdisjoint({"float64"})


def test_mixed_precisions_each_keep_their_own() -> None:
    half, single, double = (
        theano.shared(np.ones(2, dtype=dtype), name=dtype) for dtype in ("float16", "float32", "float64")
    )
    params = [half, single, double]
    loss = sum((parameter.astype("float64") ** 2).sum() for parameter in params)
    built = updates.adam(loss, params, learning_rate=theano.shared(np.float64(0.5)))
    train = theano.function([], updates=built, mode=UNCOMPILED)
    train()
    train()
    for parameter in params:
        assert built[parameter].dtype == parameter.dtype == parameter.name
        # By hand: 1 - 0.5 = 0.5, then 0.5 - 0.11766 * 0.28 / 0.070682.
        np.testing.assert_allclose(parameter.get_value(), 0.03391, atol=3e-4)


def test_gradients_that_are_wider_or_less_broadcastable_fit_the_parameter() -> None:
    column = theano.shared(np.ones((2, 1), dtype="float32"), broadcastable=(False, True))
    gradient = tensor.dmatrix()
    built = updates.momentum([gradient], [column], 0.5)
    theano.function([gradient], updates=built, mode=UNCOMPILED)(np.array([[1.0], [2.0]]))
    np.testing.assert_array_equal(column.get_value(), [[0.5], [0.0]])


def test_whole_numbers_as_hyperparameters_do_not_round() -> None:
    weights = theano.shared(np.array([0.5]))
    built = updates.rmsprop([np.array([0.25])], [weights], learning_rate=1, rho=0)
    theano.function([], updates=built, mode=UNCOMPILED)()
    np.testing.assert_allclose(weights.get_value(), 0.5 - 0.25 / np.sqrt(0.0625 + 1e-6), rtol=1e-12)


def test_states_are_named_after_their_parameters_and_come_after_them() -> None:
    params = [theano.shared(np.zeros(2), name=name) for name in ("dense_1.W", "dense_1.b")]
    built = updates.amsgrad([parameter + 1 for parameter in params], params)
    wrapped = updates.apply_momentum(built, params)
    states = ["mean", "mean_square", "largest_mean_square"]
    names = [name for p in params for name in (p.name, *(f"{p.name}.{state}" for state in states))]
    assert [variable.name for variable in built] == [*names, "step"]
    assert [variable.name for variable in wrapped] == [
        *names,
        "step",
        "dense_1.W.wrapper.velocity",
        "dense_1.b.wrapper.velocity",
    ]


def test_wrappers_leave_the_given_updates_and_the_rules_state_alone() -> None:
    weights = theano.shared(np.ones(2), name="weights")
    given = updates.adagrad((weights**2).sum(), [weights])
    before = dict(given)
    wrapped = updates.apply_nesterov_momentum(given, [weights])
    assert dict(given) == before
    assert [variable.name for variable in wrapped if wrapped[variable] is not before.get(variable)] == [
        "weights",
        "weights.wrapper.velocity",
    ]


def test_wrappers_take_all_keys_where_params_are_omitted() -> None:
    weights = theano.shared(np.ones(2), name="weights")
    wrapped = updates.apply_momentum(updates.adagrad((weights**2).sum(), [weights]))
    assert [variable.name for variable in wrapped][2:] == [
        "weights.wrapper.velocity",
        "weights.accumulator.wrapper.velocity",
    ]


def test_a_list_of_gradients_is_used_as_it_is() -> None:
    weights = theano.shared(np.zeros(2))
    gradient = tensor.dvector()
    assert updates.get_gradients([gradient], [weights]) == [gradient]
