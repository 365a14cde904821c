"""A dense layer's bias, activation and dropout in one pass: against SciPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import theano
from scipy import special
from theano import tensor

from trainer.kernels.activation import Activated, ActivatedGradient, activated
from trainer.kernels.random import RandomMasks
from trainer.layers import Dense, Dropout
from trainer.models import Network

PYTHON = theano.Mode(linker="py")

# By name: the function, and its slope by x.
REFERENCES: dict[str, Any] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: x > 0),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
}


def compiled(function: str, dtype: str, mode: Any = None) -> Any:
    """Compile value and gradients of one function: (x, b, g) → y, ∂x, ∂b."""
    x, g = (tensor.TensorType(dtype, (False, False))() for _ in range(2))
    b = tensor.TensorType(dtype, (False,))()
    y = activated(x, b, function)
    return theano.function([x, b, g], [y, *theano.grad(None, [x, b], known_grads={y: g})], mode=mode)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", REFERENCES)
def test_values_and_gradients_are_those_of_scipy(function: str, dtype: str) -> None:
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.normal(size=(150, 43)) * scale for scale in (1e-4, 1, 30)]).astype(dtype)
    g, b = generator.normal(size=x.shape).astype(dtype), generator.normal(size=43).astype(dtype)
    b[:5] = 0
    value, slope = REFERENCES[function]
    inputs = (x + b).astype("float64")
    wanted = g * slope(inputs)
    before = x.copy(), g.copy()
    tolerance: dict[str, Any] = (
        {"rtol": 2e-6, "atol": 5e-7} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    )
    for mode in (None, PYTHON):
        y, of_x, of_b = compiled(function, dtype, mode)(x, b, g)
        assert {y.dtype, of_x.dtype, of_b.dtype} == {np.dtype(dtype)}
        np.testing.assert_allclose(y, value(inputs), **tolerance)
        np.testing.assert_allclose(of_x, wanted, rtol=tolerance["rtol"], atol=10 * tolerance["atol"])
        np.testing.assert_allclose(
            of_b, wanted.sum(axis=0), rtol=1e-5, atol=1e-4 if dtype == "float32" else 1e-11
        )
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(g, before[1])


def test_arrays_with_gaps_and_of_fortrans_order_are_read_rightly() -> None:
    function = compiled("relu", "float32")
    generator = np.random.default_rng(2)
    x, g = (generator.normal(size=(12, 14)).astype(np.float32) for _ in range(2))
    b = generator.normal(size=7).astype(np.float32)
    for made in (lambda a: a[:, ::2], lambda a: np.asfortranarray(a[:, :7])):
        wanted = function(np.ascontiguousarray(made(x)), b, np.ascontiguousarray(made(g)))
        for one, other in zip(function(made(x), b, made(g)), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("function", REFERENCES)
def test_what_is_not_a_number_stays_so(function: str) -> None:
    x = np.array([[np.nan, 1], [1, 1]], np.float32)
    y = compiled(function, "float32")(x, np.zeros(2, np.float32), x)[0]
    assert np.isnan(y).tolist() == [[True, False], [False, False]]


def test_dropout_behind_relu_joins_its_passes_and_drops_the_same() -> None:
    network = Network([Dense(37, activation="relu"), Dropout(0.4)], (9,), seed=4)
    x = network.input_variable()
    output = network.output(x, training=True)
    gradients = theano.grad((output**2).sum() / 2, network.parameters)
    function = theano.function([x], [output, *gradients])
    operations = [type(node.op) for node in function.maker.fgraph.toposort()]
    assert operations.count(Activated) == operations.count(ActivatedGradient) == 1
    inputs = np.random.default_rng(5).normal(size=(200, 9)).astype(np.float32)
    like = tensor.matrix()
    mask = theano.function([like], RandomMasks(4, "dropout_1").keep(like, 0.4), mode=PYTHON)
    weights = network.weights()["dense_1.W"].astype("float64")
    for _ in range(2):
        kept = mask(np.zeros((200, 37), np.float32)).astype("float64")
        hidden = np.maximum(inputs @ weights, 0) * kept
        found = function(inputs)
        np.testing.assert_allclose(found[0], hidden, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[1], inputs.T @ (hidden * kept), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found[2], (hidden * kept).sum(axis=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("function", REFERENCES)
def test_gradients_have_gradients(function: str) -> None:
    x, b = tensor.matrix(), tensor.vector()
    y: Any = activated(x, b, function)
    first = theano.grad(y.sum(), x)
    second = theano.function([x, b], theano.grad((first**2).sum(), x), mode=PYTHON)
    value = np.array([[0.3, -0.7], [1.5, -2.0]], np.float32)
    slope, step = REFERENCES[function][1], 1e-5
    point = value.astype("float64")
    wanted = (slope(point + step) ** 2.0 - slope(point - step) ** 2.0) / (2 * step)
    np.testing.assert_allclose(second(value, np.zeros(2, np.float32)), wanted, rtol=1e-3, atol=1e-4)
