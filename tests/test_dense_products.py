"""Matrix products of our own, and dense layers' passes that they join, against NumPy in float64."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product as pairs
from typing import Any

import numpy as np
import pytest
import theano
from scipy import special
from theano import tensor

from trainer.kernels.activation import activated
from trainer.kernels.dense import ActivatedProduct, Product, ProductGradient, product
from trainer.kernels.random import RandomMasks
from trainer.runtime import threads

PYTHON = theano.Mode(linker="py")

# Rows, terms, columns: each way that the work is done, with edges of tiles, panels and blocks of terms.
SHAPES = (
    *((0, 3, 4), (8, 0, 4), (1, 5, 3), (8, 1, 1), (9, 70, 15), (13, 64, 33), (29, 64, 16), (57, 300, 48)),
    *(
        (1800, 1030, 40),
        (40, 1030, 2100),
        (128, 100, 65),
        (300, 1100, 70),
        (250, 900, 100),
        (500, 10, 80),
        (200, 2500, 7),
    ),
)


@pytest.fixture
def any_threads() -> Iterator[None]:
    before = threads.shared[0]
    yield
    threads.shared[0] = before


def drawn(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype("float32")


def compiled(turned: tuple[bool, bool], mode: Any = None) -> Any:
    left, right = tensor.fmatrices("left", "right")
    return theano.function(
        [left, right], product(left.T if turned[0] else left, right.T if turned[1] else right), mode=mode
    )


def operations(function: Any) -> list[Any]:
    return [node.op for node in function.maker.fgraph.toposort()]


def close(found: Any, wanted: Any, terms: int) -> None:
    """The error of a sum of so many float32 terms of about 1, added one after another."""
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=1e-6 * max(terms, 1))


@pytest.mark.parametrize("turned", list(pairs([False, True], repeat=2)))
def test_products_are_those_of_float64(turned: tuple[bool, bool]) -> None:
    multiply = compiled(turned)
    assert [type(operation) for operation in operations(multiply)] == [Product]
    for rows, terms, columns in SHAPES:
        left, right = drawn(rows, terms), drawn(terms, columns, seed=1)
        given = [
            np.ascontiguousarray(factor.T) if turn else factor
            for factor, turn in zip((left, right), turned, strict=True)
        ]
        close(multiply(*given), left.astype("float64") @ right.astype("float64"), terms)


def test_factors_lie_in_any_way() -> None:
    multiply = compiled((False, False))
    left, right = drawn(60, 90), drawn(90, 50, seed=1)
    wanted = left.astype("float64") @ right.astype("float64")
    for a in (
        np.asfortranarray(left),
        np.repeat(left, 2, axis=1)[:, ::2],
        np.flip(np.flip(left, 0).copy(), 0),
    ):
        close(multiply(a, np.pad(right, ((0, 0), (3, 4)))[:, 3:-4]), wanted, 90)
    same = np.broadcast_to(drawn(90), (60, 90))
    close(multiply(same, right), same.astype("float64") @ right, 90)


def test_what_is_not_a_number_stays_in_its_row() -> None:
    left, right = drawn(40, 30), drawn(30, 20)
    left[7, 29] = np.nan
    found = compiled((False, False))(left, right)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.arange(40) == 7)
    assert np.isnan(found).sum() == 20


def test_matrices_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="not as many columns as the right one has rows"):
        compiled((False, False))(drawn(10, 4), drawn(5, 10))


def layer(function: str, rate: float, mode: Any = None) -> Any:
    """Compile y = φ(x W + b), with dropout, and the gradients of what is behind y V: (x, W, b, V, g) → …"""
    x, weights, behind, g = tensor.fmatrices(4)
    bias = tensor.fvector()
    y = activated(product(x, weights), bias, function)
    if rate:
        y = RandomMasks(1, "masks").dropped(y, rate)
    result = product(y, behind)
    gradients = theano.grad(None, [x, weights, bias, behind], known_grads={result: g})
    return theano.function([x, weights, bias, behind, g], [y, result, *gradients], mode=mode)


REFERENCES: dict[str, Any] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: x > 0),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
}


def given(rows: int, terms: int, units: int, outputs: int) -> list[Any]:
    x, g = drawn(rows, terms), drawn(rows, outputs, seed=2)
    weights, behind = drawn(terms, units, seed=3) / np.sqrt(terms), drawn(units, outputs, seed=4)
    return [x, weights.astype("float32"), drawn(units, seed=5), behind, g]


@pytest.mark.parametrize("function", REFERENCES)
def test_a_layer_and_its_gradients_are_those_of_float64(function: str) -> None:
    value, slope = REFERENCES[function]
    for mode in (None, PYTHON):
        run = layer(function, 0, mode)
        kinds = [type(operation) for operation in operations(run)]
        assert kinds.count(ActivatedProduct) == kinds.count(ProductGradient) == 1
        for shape in ((60, 37, 43, 10), (3, 5, 4, 2), (101, 30, 70, 60)):
            arrays = given(*shape)
            x, weights, bias, behind, g = (array.astype("float64") for array in arrays)
            before = x @ weights + bias
            y, reaching = value(before), (g @ behind.T) * slope(before)
            wanted = [y, y @ behind, reaching @ weights.T, x.T @ reaching, reaching.sum(axis=0), y.T @ g]
            for found, right in zip(run(*arrays), wanted, strict=True):
                np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


def test_dropout_stands_between_the_products() -> None:
    run = layer("relu", 0.4)
    arrays = given(64, 30, 50, 20)
    x, weights, bias, behind, g = (array.astype("float64") for array in arrays)
    y, _, _, _, of_bias, _ = run(*arrays)
    before = np.maximum(x @ weights + bias, 0)
    kept = (y != 0) / 0.6
    np.testing.assert_allclose(y, before * kept, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_bias, ((g @ behind.T) * kept).sum(axis=0), rtol=1e-4, atol=1e-4)
    assert 0.25 < (y[before > 0] == 0).mean() < 0.55


# Rows, terms, columns, the share that is not zero: edges of vectors, panels, blocks, tiles and groups.
SPARSE = (
    *((500, 784, 160, 0.2), (128, 784, 256, 0.1), (37, 70, 49, 0.4), (8, 64, 48, 0.0), (40, 2500, 130, 0.3)),
    *((1000, 100, 1601, 0.05), (2600, 1100, 64, 0.02)),
)


def sparse(rows: int, terms: int, share: float) -> Any:
    return drawn(rows, terms) * (np.random.default_rng(9).random((rows, terms)) < share).astype("float32")


@pytest.mark.parametrize("turned", list(pairs([False, True], repeat=2)))
def test_zeros_that_are_passed_over_change_no_bit(turned: tuple[bool, bool]) -> None:
    multiply = compiled(turned)
    for rows, terms, columns, share in SPARSE:
        left, right = sparse(rows, terms, share), drawn(terms, columns, seed=1)
        full = np.vstack([left, drawn(2 * rows, terms, seed=2)])
        ways = [
            multiply(
                *(np.ascontiguousarray(f.T) if turn else f for f, turn in zip(pair, turned, strict=True))
            )
            for pair in ((left, right), (full, right))
        ]
        close(ways[0], left.astype("float64") @ right.astype("float64"), terms)
        if np.core._multiarray_umath.__cpu_features__["AVX512F"]:  # elsewhere the library has the whole
            np.testing.assert_array_equal(ways[0], ways[1][:rows])


def test_a_zero_that_is_passed_over_adds_nothing_to_infinity() -> None:
    multiply = compiled((False, False))
    left, right = sparse(100, 200, 0.2), drawn(200, 64, seed=1)
    left[:, 7], right[7] = 0, np.inf
    assert np.isfinite(multiply(left, right)).all()
    left[3, 7] = 1
    np.testing.assert_array_equal(np.isfinite(multiply(left, right)).all(axis=1), np.arange(100) != 3)
    left[5, 8] = np.nan
    assert np.isnan(multiply(left, right)[5]).all()
    left = drawn(100, 200)
    left[:, 7] = 0
    assert np.isnan(multiply(left, right)).all()


@pytest.mark.usefixtures("any_threads")
def test_a_layer_of_zeros_for_the_most_part_has_the_gradients_of_float64() -> None:
    value, slope = REFERENCES["relu"]
    run = layer("relu", 0)
    x, weights, bias, behind, g = given(150, 130, 210, 64)
    x, g, bias = sparse(150, 130, 0.2), g * (drawn(*g.shape, seed=6) > 1), bias - 2
    found = []
    for number in (1, 2):
        threads.shared[0] = number
        found.append(run(x, weights, bias, behind, g))
    before = x.astype("float64") @ weights + bias
    y, reaching = value(before), (g.astype("float64") @ behind.T) * slope(before)
    assert (y == 0).mean() > 0.8
    wanted = [y, y @ behind, reaching @ weights.T, x.T @ reaching, reaching.sum(axis=0), y.T @ g]
    for one, two, right in zip(*found, wanted, strict=True):
        np.testing.assert_allclose(one, right, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(one, two)


@pytest.mark.usefixtures("any_threads")
def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    run, multiply = layer("tanh", 0), compiled((False, False))
    for number in (1, 2, 3):
        threads.shared[0] = number
        large = multiply(drawn(400, 1100), drawn(1100, 300, seed=1))
        near = multiply(drawn(128, 700), drawn(700, 200, seed=1))
        found.append([large, near, *run(*given(150, 400, 200, 40))])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def test_other_dtypes_and_whoever_wants_it_have_the_library() -> None:
    left, right = tensor.dmatrices(2)
    assert not any(
        isinstance(operation, Product)
        for operation in operations(theano.function([left, right], product(left, right)))
    )
    without = theano.compile.get_default_mode().excluding("own_products")
    assert [type(operation).__name__ for operation in operations(compiled((False, False), without))] == [
        "Dot22"
    ]


def test_second_derivatives_are_those_of_theano() -> None:
    x, weights, direction = tensor.fmatrices(3)
    bias = tensor.fvector()
    y: Any = activated(product(x, weights), bias, "tanh")
    (first,) = theano.grad((y**2).sum(), [weights])
    second = theano.grad((first * direction).sum(), weights)
    inputs = [x, weights, bias, direction]
    ours = theano.function(inputs, second)
    plain = tensor.tanh(tensor.dot(x, weights) + bias)
    (first,) = theano.grad((plain**2).sum(), [weights])
    reference = theano.function(inputs, theano.grad((first * direction).sum(), weights), mode=PYTHON)
    arrays = [drawn(20, 6), drawn(6, 9) / 3, drawn(9), drawn(6, 9, seed=1)]
    np.testing.assert_allclose(ours(*arrays), reference(*arrays), rtol=1e-4, atol=1e-4)
