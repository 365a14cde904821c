"""Pooling in C and in NumPy: each window by hand, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer import runtime
from trainer.kernels.pooling import Windows, largest, mean
from trainer.layers import AveragePool2D, GlobalPool, MaxPool2D
from trainer.models import Network

PYTHON = theano.Mode(linker="py")

WINDOWS = {
    "pairs": Windows((6, 8), (2, 2), (2, 2)),
    "pairs, something left": Windows((7, 9), (2, 2), (2, 2)),
    "pairs of a wide image": Windows((4, 290), (2, 2), (2, 2)),
    "pairs with a border": Windows((6, 7), (2, 2), (2, 2), (1, 1)),
    "threes, overlapping": Windows((9, 11), (3, 3), (2, 2)),
    "threes with a border": Windows((8, 41), (3, 3), (2, 2), (1, 1)),
    "of two sides": Windows((7, 9), (3, 2), (1, 3), (2, 0)),
    "far apart": Windows((9, 8), (2, 2), (4, 3)),
    "the whole image": Windows((5, 4), (5, 4), (1, 1)),
    "sequences": Windows((1, 17), (1, 3), (1, 2), (0, 1)),
}


def by_hand(
    kind: str, x: NDArray[Any], g: NDArray[Any], windows: Windows
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pool window by window, and give each its gradient."""
    y, of_x = np.zeros(g.shape), np.zeros(x.shape)
    for place in np.ndindex(*g.shape):
        starts = [k * step - border for k, step, border in zip(place[2:], *windows[2:], strict=True)]
        ends = [start + size for start, size in zip(starts, windows.size, strict=True)]
        rows, columns = (slice(max(start, 0), end) for start, end in zip(starts, ends, strict=True))
        seen, share = x[place[0], place[1], rows, columns], of_x[place[0], place[1], rows, columns]
        if kind == "mean":
            y[place] = seen.mean()
            share += g[place] / seen.size
        else:
            y[place] = seen.max()
            share[np.unravel_index(seen.argmax(), seen.shape)] += g[place]
    return y, of_x


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients_are_those_worked_by_hand(name: str, dtype: str) -> None:
    windows, generator = WINDOWS[name], np.random.default_rng(1)
    x, g = (tensor.TensorType(dtype, (False,) * 4)() for _ in range(2))
    # Of few values, so that there are ties.
    given = generator.integers(-3, 4, (3, 2, *windows.lengths)).astype(dtype)
    slopes = generator.normal(size=(3, 2, *windows.counts)).astype(dtype)
    tolerance: dict[str, Any] = (
        {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-14}
    )
    for kind, pooled in (("largest", largest), ("mean", mean)):
        y = pooled(x, windows)
        outputs = [y, theano.grad(None, x, known_grads={y: g})]
        wanted = by_hand(kind, given, slopes, windows)
        for mode in (None, PYTHON):
            results = theano.function([x, g], outputs, mode=mode)(given, slopes)
            for one, other in zip(results, wanted, strict=True):
                assert one.dtype == dtype
                np.testing.assert_allclose(one, other, **tolerance)


def test_the_bits_are_the_same_with_any_number_of_threads() -> None:
    before = runtime.current()
    assert before is not None
    windows = Windows((15, 15), (3, 3), (2, 2), (1, 1))
    x = tensor.tensor4()
    y = [largest(x, windows), mean(x, windows)]
    function = theano.function([x], [*y, *(theano.grad((each**2).sum(), x) for each in y)])
    given = np.random.default_rng(2).normal(size=(40, 30, 15, 15)).astype(np.float32)
    found = []
    for count in (1, 2):
        runtime.prepare(threads=count)
        found.append(function(given))
    runtime.prepare(threads=before.threads)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_in_another_order_in_memory_are_pooled_alike() -> None:
    x = tensor.tensor4()
    function = theano.function([x], largest(x, WINDOWS["pairs"]))
    given = np.random.default_rng(3).normal(size=(2, 3, 6, 8)).astype(np.float32)
    turned = np.ascontiguousarray(given.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(function(turned), function(given))


@pytest.mark.parametrize("name", ["pairs", "threes with a border", "of two sides"])
def test_what_is_not_a_number_is_larger_than_all_others(name: str) -> None:
    windows, x = WINDOWS[name], tensor.tensor4()
    function = theano.function([x], largest(x, windows))
    for place in np.ndindex(*windows.lengths):
        given = np.zeros((1, 1, *windows.lengths), np.float32)
        given[0, 0][place] = np.nan
        np.testing.assert_array_equal(np.isnan(function(given)), np.isnan(by_hand_largest(given, windows)))


def by_hand_largest(given: NDArray[Any], windows: Windows) -> NDArray[Any]:
    return by_hand("largest", given, np.zeros((1, 1, *windows.counts)), windows)[0]


def test_images_of_another_size_are_refused() -> None:
    x = tensor.tensor4()
    function = theano.function([x], largest(x, WINDOWS["pairs"]))
    with pytest.raises(ValueError, match="images of 6 x 8 are wanted, not of 6 x 7"):
        function(np.zeros((1, 1, 6, 7), np.float32))


@pytest.mark.parametrize("layer", [MaxPool2D(2), AveragePool2D(3), GlobalPool("max"), GlobalPool("average")])
def test_layers_pool_by_the_kernel_and_elsewhere_alike(layer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network([layer], (2, 7, 6))
    x = network.input_variable()
    given = np.random.default_rng(4).normal(size=(3, 2, 7, 6)).astype(np.float32)
    found = theano.function([x], network.output(x, training=True), mode=PYTHON)(given)
    monkeypatch.setattr("trainer.layers.pooling.served", lambda *_: False)
    wanted = theano.function([x], network.output(x, training=True), mode=PYTHON)(given)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_no_images_at_all_are_pooled_to_none() -> None:
    x = tensor.tensor4()
    y = largest(x, WINDOWS["pairs"])
    found = theano.function([x], [y, theano.grad(y.sum(), x)])(np.zeros((0, 2, 6, 8), np.float32))
    assert [each.shape for each in found] == [(0, 2, 3, 4), (0, 2, 6, 8)]
