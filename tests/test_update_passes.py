"""What updates go through besides their own kernels: threads' shares of the work, and norms of units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer import updates
from trainer.kernels.fused import fuse
from trainer.kernels.fused.squares import SquaresAlong
from trainer.kernels.plans import Planned
from trainer.runtime import threads

# Writes to each piece's place how often it was done.
SHARES = """
static int run_plan(PyObject* in, PyObject* out, const npy_int64*) {
    PyArrayObject* const times = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, 0), 0);
    PyArrayObject* const made = array_out(
        PyTuple_GET_ITEM(out, 0), 1, PyArray_DIMS(times), NPY_INT64, false);
    if (!made) return -1;
    npy_int64* const to = (npy_int64*)PyArray_DATA(made);
    memset(to, 0, PyArray_NBYTES(made));
    const auto count = [=](uint32_t piece) { __atomic_fetch_add(to + piece, 1, __ATOMIC_RELAXED); };
    trainer::parallel_for((uint32_t)PyArray_SIZE(made), count);
    return 0;
}
"""


class Counted(Planned):
    """How often each piece of so many was done."""

    __props__ = ()

    def make_node(self, x: Any) -> Any:
        return theano.gof.Apply(self, [x], [tensor.lvector()])

    def kernel(self) -> str:
        return SHARES

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        outputs[0][0] = np.ones_like(inputs[0])


@pytest.fixture
def counted() -> Iterator[Any]:
    held = threads.shared[0]
    yield threads.shared
    threads.shared[0] = held


def test_each_piece_is_done_once_whatever_the_threads(counted: Any) -> None:
    x = tensor.lvector()
    function = theano.function([x], Counted()(x))
    for number in (1, 2, 3, 7):
        counted[0] = number
        for count in (0, 1, 2, 5, 6, 64, 1001):
            for _ in range(20):
                np.testing.assert_array_equal(function(np.zeros(count, "int64")), np.ones(count))


@pytest.mark.parametrize("leading", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_squares_along_axes_are_numpys(leading: bool, dtype: str, counted: Any) -> None:
    random = np.random.default_rng(2)
    for shape, split in (((613, 451), 1), ((1, 37), 1), ((6, 5, 3, 3), 1), ((6, 5, 3, 3), 3), ((0, 4), 1)):
        x = tensor.TensorType(dtype, [False] * len(shape))()
        function = theano.function([x], SquaresAlong(split, leading, dtype)(x))
        given = random.normal(size=shape).astype(dtype)
        over = tuple(range(split)) if leading else tuple(range(split, len(shape)))
        expected = (given.astype("float64") ** 2).sum(over)
        found = []
        for number, array in ((1, given), (3, given), (2, np.asfortranarray(given))):
            counted[0] = number
            found.append(np.array(function(array)))
            assert found[-1].dtype == dtype
            np.testing.assert_allclose(found[-1], expected, rtol=1e-6 if dtype == "float32" else 1e-12)
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(5, 7), (1, 40), (40, 1), (700, 90), (4, 3, 2, 2), (90, 7, 11, 3)])
def test_norms_of_units_are_summed_in_the_updates_own_pass(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    weights = theano.shared(random.normal(size=shape).astype("float32"), "W")
    gradient = theano.shared(random.normal(size=shape).astype("float32"))
    start = weights.get_value().astype("float64") - 0.1 * gradient.get_value()
    norms = np.sqrt((start**2).sum(0 if len(shape) == 2 else (1, 2, 3), keepdims=True))
    largest = float(np.median(norms))
    bounded = updates.max_norm_constraint(updates.sgd([gradient], [weights], 0.1), [weights], largest)
    function = theano.function([], updates=fuse(bounded, [gradient]))
    operations = [type(node.op) for node in function.maker.fgraph.toposort()]
    assert not {SquaresAlong, tensor.Sum} & set(operations)
    function()
    np.testing.assert_allclose(
        weights.get_value(), start * np.minimum(1, largest / norms), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_the_larger_and_the_smaller_of_two_are_numpys_with_nan_too(name: str) -> None:
    values = np.array([-np.inf, -1.5, 0.0, 2.0, np.inf, np.nan], "float32")
    left, right = (each.ravel() for each in np.meshgrid(values, values))
    first, second = theano.shared(left), theano.shared(right)
    theano.function([], updates=fuse({first: getattr(tensor, name)(first, second)}, [second]))()
    expected = getattr(np, name)(left, right)
    np.testing.assert_array_equal(first.get_value(), expected)
