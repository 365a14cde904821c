"""The kernel of convolutions against Theano's own, and without a compiler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.tensor.nnet.corr import CorrMM, CorrMM_gradInputs, CorrMM_gradWeights

from trainer.kernels.convolution import Convolution, convolution
from trainer.kernels.convolution_numpy import Geometry
from trainer.layers import Conv2D
from trainer.models import Network
from trainer.runtime import threads

Numbers = NDArray[Any]

PYTHON = theano.Mode(linker="py", optimizer=None)

# Shape of the images, filters, kernel, geometry, relu, bias.
CASES: dict[str, Any] = {
    "one channel": ((6, 1, 12, 11), 5, (5, 3), Geometry(), True, True),
    "two blocks of filters": ((3, 20, 7, 9), 70, (3, 3), Geometry(), False, True),
    "no bias": ((3, 3, 7, 9), 40, (1, 1), Geometry(), False, False),
    "padded": ((4, 9, 8, 8), 33, (3, 3), Geometry(before=(1, 1), after=(1, 1)), True, True),
    "padded unevenly": ((4, 2, 5, 6), 3, (2, 4), Geometry(before=(0, 1), after=(1, 2)), True, False),
    "in steps": ((3, 4, 11, 9), 6, (3, 2), Geometry((2, 3), (1, 1), (1, 0), (1, 0)), True, True),
    "dilated": ((3, 4, 11, 9), 6, (3, 2), Geometry((1, 2), (3, 2), (2, 2), (2, 2)), False, True),
    "in groups": ((3, 6, 6, 7), 9, (3, 3), Geometry(groups=3), True, True),
    "each channel apart": ((2, 5, 6, 7), 5, (3, 3), Geometry((1, 1), (1, 1), (1, 1), (1, 1), 5), True, True),
    "many small images": ((150, 18, 2, 3), 20, (2, 3), Geometry(), True, True),
    "a large image": ((2, 3, 45, 50), 4, (3, 3), Geometry((1, 1), (1, 2), (1, 2), (1, 2)), True, True),
}


def images() -> Any:
    return tensor.TensorType("float32", (False,) * 4)()


def passes(name: str, mode: Any = None) -> Any:
    """Compile y and all gradients, by x, W, b and the gradient that arrives."""
    *_, geometry, relu, biased = CASES[name]
    x, weights, slopes, bias = images(), images(), images(), tensor.fvector()
    y = convolution(x, weights, bias if biased else None, geometry, relu=relu)
    wanted = [x, weights, *([bias] if biased else [])]
    gradients = theano.grad(None, wanted, known_grads={y: slopes})
    return theano.function([x, weights, bias, slopes], [y, *gradients], mode=mode, on_unused_input="ignore")


def theanos(name: str) -> Any:
    """Compile the same of Theano's operations."""
    *_, geometry, relu, biased = CASES[name]
    x, weights, slopes, bias = images(), images(), images(), tensor.fvector()
    options = {
        "border_mode": tuple(zip(geometry.before, geometry.after, strict=True)),
        "subsample": geometry.stride,
        "filter_dilation": geometry.dilation,
        "num_groups": geometry.groups,
    }
    y = CorrMM(**options)(x, weights)
    y = y + bias.dimshuffle("x", 0, "x", "x") if biased else y
    passed = slopes * tensor.gt(y, 0) if relu else slopes
    results = [
        y * tensor.gt(y, 0) if relu else y,
        CorrMM_gradInputs(**options)(weights, passed, x.shape[2:]),
        CorrMM_gradWeights(**options)(x, passed, weights.shape[2:]),
        *([passed.sum(axis=(0, 2, 3))] if biased else []),
    ]
    return theano.function([x, weights, bias, slopes], results, on_unused_input="ignore")


def draw(name: str) -> list[Numbers]:
    shape, filters, kernel, geometry, *_ = CASES[name]
    draws = np.random.default_rng(7)
    lengths = [geometry.places(shape[2 + axis], kernel[axis], axis) for axis in (0, 1)]
    shapes = [
        shape,
        (filters, shape[1] // geometry.groups, *kernel),
        (filters,),
        (shape[0], filters, *lengths),
    ]
    return [draws.normal(size=each).astype(np.float32) for each in shapes]


def distance(got: Numbers, wanted: Numbers) -> float:
    """Compare with the largest number, since those near 0 are differences of larger ones."""
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype == np.float32
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", CASES)
def test_all_passes_agree_with_theanos_own(name: str) -> None:
    values = draw(name)
    wanted = theanos(name)(*values)
    for got, right in zip(passes(name)(*values), wanted, strict=True):
        assert distance(got, right) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_without_a_compiler_it_computes_the_same(name: str) -> None:
    values = draw(name)
    wanted = theanos(name)(*values)
    for got, right in zip(passes(name, PYTHON)(*values), wanted, strict=True):
        assert distance(got, right) < 1e-5


@pytest.fixture
def any_threads() -> Iterator[None]:
    before = threads.shared[0]
    yield
    threads.shared[0] = before


@pytest.mark.usefixtures("any_threads")
@pytest.mark.parametrize("name", ["padded", "many small images", "a large image"])
def test_the_bits_do_not_depend_on_the_number_of_threads(name: str) -> None:
    values, function = draw(name), passes(name)
    results = []
    for number in (1, 2, 5, 2):
        threads.shared[0] = number
        results.append([np.array(each).tobytes() for each in function(*values)])
    assert results[0] == results[1] == results[2] == results[3]


def test_a_batch_of_none_has_gradients_of_zero() -> None:
    x, weights, bias, _ = draw("padded")
    y, to_x, to_weights, to_bias = passes("padded")(x[:0], weights, bias, np.zeros((0, 33, 8, 8), "f"))
    assert y.shape == (0, 33, 8, 8)
    assert to_x.shape == x[:0].shape
    assert to_weights.shape == weights.shape
    assert not to_weights.any()
    assert not to_bias.any()


@pytest.mark.parametrize("mode", [None, PYTHON])
def test_relu_keeps_what_is_no_number_and_has_no_slope_at_0(mode: Any) -> None:
    x = np.array([np.nan, 0, -2, 3], np.float32).reshape(1, 1, 1, 4)
    one = np.ones((1, 1, 1, 1), np.float32)
    y, to_x, *_ = passes("one channel", mode)(x, one, np.zeros(1, "f"), np.ones_like(x))
    assert np.array_equal(y.ravel(), [np.nan, 0, 0, 3], equal_nan=True)
    assert np.array_equal(to_x.ravel(), [0, 0, 0, 1])


def test_takes_arrays_that_lie_in_memory_in_another_order() -> None:
    values = draw("padded")
    wanted = passes("padded")(*values)
    turned = [np.asfortranarray(value) for value in values]
    for got, right in zip(passes("padded")(*turned), wanted, strict=True):
        assert np.array_equal(got, right)


def test_knows_its_shape_before_it_runs() -> None:
    x, weights = images(), images()
    shape = convolution(x, weights, None, CASES["in steps"][3]).shape
    function = theano.function([x, weights], shape, mode=theano.Mode("py", "fast_run"))
    assert not any(isinstance(node.op, Convolution) for node in function.maker.fgraph.toposort())
    given = draw("in steps")
    assert tuple(function(*given[:2])) == given[3].shape


def test_says_what_does_not_fit() -> None:
    function = passes("two blocks of filters")
    x, weights, bias, slopes = draw("two blocks of filters")
    with pytest.raises(ValueError, match="another number of channels"):
        function(x[:, 1:], weights, bias, slopes)
    with pytest.raises(ValueError, match="one bias for each filter"):
        function(x, weights, bias[1:], slopes)
    with pytest.raises(ValueError, match="smaller than the kernel"):
        function(x[:, :, :2], weights, bias, slopes)
    with pytest.raises(ValueError, match="gradient has another shape"):
        function(x, weights, bias, slopes[1:])
    with pytest.raises(TypeError, match="instead of float32"):
        convolution(images(), tensor.dtensor4(), None, Geometry())


def test_the_layer_leaves_other_devices_to_theano(monkeypatch: pytest.MonkeyPatch) -> None:
    def operations() -> list[type]:
        network = Network([Conv2D(2, 3, activation="relu")], (1, 4, 4))
        output = network.output(network.input_variable(), training=True)
        return [type(node.op) for node in theano.gof.graph.io_toposort([], [output])]

    assert Convolution in operations()
    monkeypatch.setattr(type(theano.config), "device", "cuda")
    assert Convolution not in operations()
