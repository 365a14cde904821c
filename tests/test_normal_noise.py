"""Normal noise by counting: its distribution, and that neither threads nor a lack of compilers change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from scipy import stats
from theano import tensor

from trainer.kernels import normal
from trainer.runtime import threads

STATE = np.array([-0x123456789ABCDEF, 2**32 + 5])
SHAPE = (367, 271)  # the last piece, buffer and group are not full


@pytest.fixture
def counted() -> Iterator[Any]:
    held = threads.shared[0]
    yield threads.shared
    threads.shared[0] = held


@pytest.fixture(scope="module")
def add_noise() -> dict[str, Any]:
    state, deviation, made = tensor.lvector(), tensor.dscalar(), {}
    for dtype in ("float32", "float64"):
        x = tensor.TensorType(dtype, (False, False))()
        outputs = list(normal.noisy(x, deviation, state))
        made[dtype] = theano.function([x, deviation, state], outputs)
    return made


def drawn(add_noise: Any, state: Any = STATE, shape: Any = SHAPE, dtype: str = "float32") -> NDArray[Any]:
    noise: NDArray[Any] = np.array(add_noise[dtype](np.zeros(shape, dtype), 1.0, state)[0])
    return noise


def test_it_is_standard_normal_and_uncorrelated(add_noise: Any) -> None:
    noise = drawn(add_noise, shape=(1000, 1000)).ravel()
    assert stats.kstest(noise, "norm").pvalue > 0.01
    assert stats.kstest(noise**2, "chi2", args=(1,)).pvalue > 0.01
    for apart in (1, 16, 32, 64):  # a pair's numbers are 16 apart
        assert abs(np.corrcoef(noise[:-apart], noise[apart:])[0, 1]) < 4e-3
        assert abs(np.corrcoef(noise[:-apart] ** 2, noise[apart:] ** 2)[0, 1]) < 4e-3
    expected = 2 * stats.norm.sf(4) * noise.size
    assert abs(np.count_nonzero(np.abs(noise) > 4) - expected) < 4 * np.sqrt(expected)


def test_other_draws_and_keys_give_other_noise(add_noise: Any) -> None:
    noise = [drawn(add_noise, STATE + np.array(by)).ravel() for by in ([0, 0], [0, 1], [1, 0])]
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.015
    _, following = add_noise["float32"](np.zeros((1, 1), "float32"), 1.0, STATE)
    np.testing.assert_array_equal(following, STATE + np.array([0, 1]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_box_and_mullers_of_the_words_by_numpy_and_by_theano(add_noise: Any, dtype: str) -> None:
    random = np.random.default_rng(1)
    given = random.normal(size=SHAPE).astype(dtype)
    for layout in (given, np.asfortranarray(given), given[::2, ::3]):
        found = np.array(add_noise[dtype](layout, 0.25, STATE)[0])
        x, state = tensor.TensorType(dtype, (False, False))(), tensor.lvector()
        by_numpy = theano.function([x, state], normal.noisy(x, 0.25, state)[0], mode=theano.Mode("py", None))
        np.testing.assert_allclose(found, by_numpy(layout, STATE), rtol=0, atol=3e-6)
        assert found.dtype == dtype


def test_devices_have_the_same_noise(add_noise: Any) -> None:
    x, state = tensor.fmatrix(), tensor.lvector()
    expression, following = normal.symbolic(x, 0.25, state)
    by_elements = theano.function([x, state], [expression, following], mode=theano.Mode("py", "fast_compile"))
    zeros = np.zeros((9, 37), "float32")
    found, after = by_elements(zeros, STATE)
    expected, as_here = add_noise["float32"](zeros, 0.25, STATE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
    np.testing.assert_array_equal(after, as_here)


def test_one_thread_and_several_give_the_same_bits(add_noise: Any, counted: Any) -> None:
    noise = []
    for count in (1, 2, 3):
        counted[0] = count
        noise.append(drawn(add_noise, shape=(600, 700)))
    np.testing.assert_array_equal(noise[0], noise[1])
    np.testing.assert_array_equal(noise[0], noise[2])


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 5)])
def test_small_tensors(add_noise: Any, shape: tuple[int, int]) -> None:
    noise = drawn(add_noise, shape=shape)
    assert noise.shape == shape
    np.testing.assert_array_equal(noise.ravel(), drawn(add_noise).ravel()[: noise.size])
