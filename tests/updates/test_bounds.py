"""Adaptive clipping, constraints of parameters, and the patterns that choose parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import updates

PYTHON = theano.Mode(linker="py")
GENERATOR = np.random.default_rng(5)
VALUES = {
    "dense_1.W": GENERATOR.normal(size=(4, 3)).astype("float32"),
    "conv2d_1.W": GENERATOR.normal(size=(2, 3, 2, 2)).astype("float32"),
    "dense_1.b": GENERATOR.normal(size=3).astype("float32"),
}
PARAMETERS = [theano.shared(value, name=name) for name, value in VALUES.items()]
OVER = {"dense_1.W": (0,), "conv2d_1.W": (1, 2, 3)}


def constrained(constraint: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return what updates of three times the values become."""
    given = {parameter: parameter * 3 for parameter in PARAMETERS}
    result = constraint(given, PARAMETERS, **arguments)
    assert set(given) == set(result)
    new = theano.function([], list(result.values()), mode=PYTHON)()
    assert all(value.dtype == "float32" for value in new)
    return {variable.name: value for variable, value in zip(result, new, strict=True)}


def norms(value: Any, axes: tuple[int, ...]) -> Any:
    return np.sqrt((value.astype("float64") ** 2).sum(axis=axes))


def test_adaptive_clipping_bounds_each_units_gradient_by_its_weights() -> None:
    gradients = [tensor.constant(np.full(value.shape, 0.5, "float32")) for value in VALUES.values()]
    weights = {**VALUES, "dense_1.W": VALUES["dense_1.W"] * [0, 1, 100]}
    parameters = [theano.shared(value.astype("float32"), name=name) for name, value in weights.items()]
    ratio = theano.shared(np.float32(0.1))
    clipped = updates.clip_by_parameter_norm(gradients, parameters, max_ratio=ratio, epsilon=1e-2)
    dense, filters, bias = theano.function([], clipped, mode=PYTHON)()
    # A gradient of 0.5 for each of 4 inputs has the norm 1; weights of 0 count as 0.01.
    np.testing.assert_allclose(norms(dense, (0,))[0], 0.1 * 0.01, rtol=1e-5)
    np.testing.assert_allclose(norms(dense, (0,))[1], 0.1 * norms(weights["dense_1.W"], (0,))[1], rtol=1e-5)
    np.testing.assert_array_equal(dense[:, 2], np.full(4, 0.5, "float32"))
    np.testing.assert_allclose(
        norms(filters, (1, 2, 3)), 0.1 * norms(weights["conv2d_1.W"], (1, 2, 3)), rtol=1e-5
    )
    np.testing.assert_allclose(norms(bias, (0,)), 0.1 * norms(weights["dense_1.b"], (0,)), rtol=1e-5)


def test_adaptive_clipping_leaves_out_what_its_pattern_does_not_fit() -> None:
    gradients = [parameter * 10 for parameter in PARAMETERS]
    clipped = updates.clip_by_parameter_norm(gradients, PARAMETERS, match="conv*")
    assert [new is old for new, old in zip(clipped, gradients, strict=True)] == [True, False, True]


def test_max_norm_bounds_the_weights_of_each_unit_and_no_bias() -> None:
    new = constrained(updates.max_norm_constraint, max_norm=2.0)
    for name, axes in OVER.items():
        before = norms(VALUES[name] * 3, axes)
        assert (before > 2).any()
        np.testing.assert_allclose(norms(new[name], axes), np.minimum(before, 2), rtol=1e-5)
    np.testing.assert_array_equal(new["dense_1.b"], VALUES["dense_1.b"] * 3)


def test_unit_norm_scales_the_weights_of_each_unit_and_no_bias() -> None:
    new = constrained(updates.unit_norm_constraint)
    for name, axes in OVER.items():
        np.testing.assert_allclose(norms(new[name], axes), 1, rtol=1e-5)
        np.testing.assert_allclose(new[name] / VALUES[name] > 0, True)
    np.testing.assert_array_equal(new["dense_1.b"], VALUES["dense_1.b"] * 3)


@pytest.mark.parametrize(
    ("constraint", "arguments"),
    [(updates.unit_norm_constraint, {}), (updates.max_norm_constraint, {"max_norm": 1.0, "epsilon": 1e-9})],
)
def test_norms_are_taken_over_the_given_axes_of_the_parameters_that_fit(
    constraint: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    new = constrained(constraint, axes=[1], match="dense_*.W", **arguments)
    np.testing.assert_allclose(norms(new["dense_1.W"], (1,)), 1, rtol=1e-5)
    np.testing.assert_array_equal(new["conv2d_1.W"], VALUES["conv2d_1.W"] * 3)
    whole = constrained(constraint, axes=[0], match=["dense_1.b", "dense_1.W"], **arguments)
    np.testing.assert_allclose(norms(whole["dense_1.b"], (0,)), 1, rtol=1e-5)


def test_non_negativity_puts_zero_in_place_of_what_is_negative() -> None:
    everywhere = constrained(updates.non_negative_constraint)
    of_weights = constrained(updates.non_negative_constraint, match="*.W")
    for name, value in VALUES.items():
        np.testing.assert_array_equal(everywhere[name], np.where(value > 0, value * 3, 0))
    assert (of_weights["dense_1.W"] >= 0).all()
    np.testing.assert_array_equal(of_weights["dense_1.b"], VALUES["dense_1.b"] * 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: constrained(updates.non_negative_constraint, match="conv_*"),
            r"match=conv_\* fits no parameter; there are dense_1\.W, conv2d_1\.W, dense_1\.b",
        ),
        (
            lambda: constrained(updates.max_norm_constraint, max_norm=1.0, match=["dense*", "Dense*"]),
            r"match=Dense\* fits no parameter",
        ),
        (
            lambda: updates.clip_by_parameter_norm(PARAMETERS, PARAMETERS, match="dense_1"),
            "match=dense_1 fits no parameter",
        ),
        (
            lambda: constrained(updates.unit_norm_constraint, axes=[1]),
            r"axes=\[1\]: dense_1\.b has 1 dimensions and no axis 1; choose by match",
        ),
        (
            lambda: updates.unit_norm_constraint({}, PARAMETERS),
            r"updates has nothing for dense_1\.W, which params names",
        ),
    ],
)
def test_mistakes_name_what_there_is(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
