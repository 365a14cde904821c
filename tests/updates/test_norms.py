"""Bounds on gradients and parameters, against NumPy."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import updates

UNCOMPILED = theano.Mode(linker="py", optimizer="fast_compile")


def value_of(expression: Any) -> Any:
    return theano.function([], expression, mode=UNCOMPILED)()


def bounded(values: Any, axes: tuple[int, ...] | None, maximum: float) -> Any:
    norm = np.sqrt((values.astype("float64") ** 2).sum(axis=axes, keepdims=True))
    return values * np.minimum(norm, maximum) / (1e-7 + norm)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 3), (0,)),
        ((4, 3, 2), (1, 2)),
        ((4, 3, 2, 2), (1, 2, 3)),
        ((4, 3, 2, 2, 2), (1, 2, 3, 4)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norm_constraint_bounds_what_enters_a_unit(
    shape: tuple[int, ...], axes: tuple[int, ...], dtype: str
) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(dtype)
    values[..., 0] *= 0.01
    constrained = updates.norm_constraint(theano.shared(values), theano.shared(np.array(0.9)))
    assert constrained.dtype == dtype
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(value_of(constrained), bounded(values, axes, 0.9), rtol=tolerance)


def test_norm_constraint_takes_other_axes() -> None:
    values = np.random.default_rng(2).normal(size=(2, 3))
    constrained = updates.norm_constraint(theano.shared(values), 0.5, norm_axes=[1])
    np.testing.assert_allclose(value_of(constrained), bounded(values, (1,), 0.5), rtol=1e-14)
    vector = updates.norm_constraint(theano.shared(values[0]), 0.5, norm_axes=(0,))
    np.testing.assert_allclose(value_of(vector), bounded(values[0], (0,), 0.5), rtol=1e-14)


@pytest.mark.parametrize("dimensions", [0, 1, 6])
def test_norm_constraint_refuses_dimensions_that_have_no_default_axes(dimensions: int) -> None:
    with pytest.raises(ValueError, match=f"^Unsupported tensor dimensionality {dimensions}"):
        updates.norm_constraint(theano.shared(np.ones((1,) * dimensions)), 1.0)


@pytest.mark.parametrize("maximum", [1.0, 100.0])
def test_total_norm_constraint_scales_all_tensors_alike(maximum: float) -> None:
    random = np.random.default_rng(3)
    values = [random.normal(size=(3, 2)), random.normal(size=5).astype("float32"), np.array(2.0)]
    tensors = [theano.shared(value) for value in values]
    scaled, norm = updates.total_norm_constraint(tensors, maximum, return_norm=True)
    expected_norm = np.sqrt(sum((value.astype("float64") ** 2).sum() for value in values))
    assert [tensor.dtype for tensor in scaled] == ["float64", "float32", "float64"]
    *results, found = value_of([*scaled, norm])
    np.testing.assert_allclose(found, expected_norm, rtol=1e-14)
    for result, value in zip(results, values, strict=True):
        factor = min(expected_norm, maximum) / (1e-7 + expected_norm)
        np.testing.assert_allclose(result, value * factor, rtol=1e-6 if value.dtype == "float32" else 1e-14)
    alone = updates.total_norm_constraint(tensors, maximum)
    np.testing.assert_array_equal(value_of(alone[0]), results[0])


def test_zeros_stay_zeros() -> None:
    zeros = theano.shared(np.zeros((2, 2), dtype="float32"))
    for bounded_zeros in (
        updates.norm_constraint(zeros, 1.0),
        updates.total_norm_constraint([zeros], 1.0)[0],
        updates.clip_by_norm([zeros], 1.0)[0],
    ):
        np.testing.assert_array_equal(value_of(bounded_zeros), np.zeros((2, 2)))


def test_half_precision_is_reckoned_in_single() -> None:
    values = np.full((100, 1), 200.0, dtype="float16")
    constrained = updates.norm_constraint(theano.shared(values), 10.0)
    assert constrained.dtype == "float16"
    np.testing.assert_allclose(value_of(constrained), np.ones((100, 1)), rtol=1e-3)


def test_clip_by_norm_bounds_each_gradient_by_its_own_norm() -> None:
    gradients = [np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([0.6, 0.8]), np.array(-7.0, dtype="float32")]
    clipped = updates.clip_by_norm([theano.shared(gradient) for gradient in gradients], 2.0)
    matrix, vector, scalar = value_of(clipped)
    np.testing.assert_allclose(matrix, [[1.2, 0.0], [0.0, 1.6]], rtol=1e-6)
    np.testing.assert_allclose(vector, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(scalar, -2.0, rtol=1e-6)
    assert clipped[2].dtype == "float32"


def test_clip_by_value_bounds_each_element() -> None:
    maximum = theano.shared(np.array(0.5))
    gradient = theano.shared(np.array([-2.0, -0.25, 0.0, 3.0], dtype="float32"))
    [clipped] = updates.clip_by_value([gradient], maximum)
    assert clipped.dtype == "float32"
    np.testing.assert_array_equal(value_of(clipped), np.array([-0.5, -0.25, 0.0, 0.5]))


def test_max_norm_constraint_bounds_weights_and_leaves_biases_and_the_given_updates() -> None:
    weights = theano.shared(np.array([[3.0, 0.1], [4.0, 0.2]]), name="W")
    bias = theano.shared(np.array([9.0, 9.0]), name="b")
    given: dict[Any, Any] = {weights: weights * 2, bias: bias * 2}
    before = dict(given)
    constrained = updates.max_norm_constraint(given, [weights, bias], 1.0)
    assert given == before
    assert list(constrained) == [weights, bias]
    assert constrained[bias] is before[bias]
    np.testing.assert_allclose(value_of(constrained[weights]), [[0.6, 0.2], [0.8, 0.4]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("norm_constraint", {"tensor_var": ..., "max_norm": ..., "norm_axes": None, "epsilon": 1e-7}),
        (
            "total_norm_constraint",
            {"tensor_vars": ..., "max_norm": ..., "epsilon": 1e-7, "return_norm": False},
        ),
    ],
)
def test_constraints_have_the_published_arguments(name: str, signature: dict[str, Any]) -> None:
    parameters = inspect.signature(getattr(updates, name)).parameters.values()
    found = {p.name: ... if p.default is p.empty else p.default for p in parameters}
    assert list(found.items()) == list(signature.items())


def test_bounds_take_symbolic_tensors() -> None:
    matrix = tensor.fmatrix()
    constrain = theano.function([matrix], updates.norm_constraint(matrix, 1.0), mode=UNCOMPILED)
    np.testing.assert_allclose(constrain(np.array([[0.0], [5.0]], dtype="float32")), [[0.0], [1.0]])
