"""Random masks: the generator against its published numbers, its statistics, and the same bits everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from scipy import stats
from theano import tensor

from trainer import runtime
from trainer.errors import UsageError
from trainer.kernels.random import RandomMasks
from trainer.kernels.random_symbolic import places_of, words_at
from trainer.kernels.random_words import philox, words
from trainer.layers import Dropout
from trainer.models import Network
from trainer.state import check_state

PYTHON = theano.Mode(linker="py")


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: list[int], key: list[int], wanted: list[int]
) -> None:
    assert [int(word) for word in philox(counter, key)] == wanted


def test_the_words_of_a_draw_are_the_ciphers_in_groups_of_sixteen_blocks() -> None:
    drawn = words((5 << 32 | 7, 3 << 32 | 2), 200)
    for place in (0, 15, 16, 63, 64, 147, 199):
        block = place // 64 * 16 + place % 16
        assert drawn[place] == philox((block, 0, 2, 3), (7, 5))[place % 64 // 16]


def boxes(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Count pairs in 16 × 16 boxes."""
    return np.bincount((one * 16).astype(int) * 16 + (other * 16).astype(int), minlength=256)


def p_values(pairs: Any) -> float:
    """Test many streams alike; give the p-value of their p-values being uniform, as those of chance are."""
    found = [stats.chisquare(boxes(*pair)) for pair in pairs]
    return float(stats.kstest([each.pvalue for each in found], "uniform").pvalue)


@pytest.fixture(scope="module")
def streams() -> NDArray[np.float64]:
    """Three draws of each stream, (streams, draws, places), between 0 and 1."""
    keys = []
    for name in range(100):
        masks = RandomMasks(1, f"dropout_{name}")
        masks.keep(tensor.matrix(), 0.5)
        keys.append(int(masks.states[0].get_value()[0]))
    return np.array([[words((key, draw), 1 << 14) for draw in range(3)] for key in keys]) / 2.0**32


class TestStatistics:
    """Of 100 streams: what chance gives one by one, it gives in its share. The seeds are fixed."""

    def test_words_are_uniform(self, streams: NDArray[np.float64]) -> None:
        found = [stats.kstest(stream[0], "uniform").pvalue for stream in streams]
        assert stats.kstest(found, "uniform").pvalue > 0.001
        for bits in (2**8, 2**16, 2**24):
            low = streams[:, 0] * bits % 1
            counts = [np.bincount((each * 256).astype(int), minlength=256) for each in low]
            found = [stats.chisquare(each).pvalue for each in counts]
            assert stats.kstest(found, "uniform").pvalue > 0.001

    @pytest.mark.parametrize("lag", [1, 2, 4, 16, 64, 800])
    def test_units_and_examples_are_independent(self, streams: NDArray[np.float64], lag: int) -> None:
        assert p_values((draws[0, lag:], draws[0, :-lag]) for draws in streams) > 0.001

    def test_steps_are_independent(self, streams: NDArray[np.float64]) -> None:
        assert p_values((draws[0], draws[1]) for draws in streams) > 0.001
        assert p_values((draws[0], draws[2]) for draws in streams) > 0.001

    def test_streams_are_independent(self, streams: NDArray[np.float64]) -> None:
        assert p_values(zip(streams[:-1, 0], streams[1:, 0], strict=True)) > 0.001


@pytest.fixture
def threads() -> Iterator[Any]:
    """Set the number of threads, and put it back."""
    before = runtime.current()
    assert before is not None
    yield lambda count: runtime.prepare(threads=count)
    runtime.prepare(threads=before.threads)


class Masked:
    """A dropped input, a mask, and a gradient, compiled."""

    def __init__(self, mode: Any = None, dtype: str = "float32") -> None:
        self.x = tensor.TensorType(dtype, (False, False))()
        masks = [RandomMasks(3, name) for name in ("first", "second")]
        dropped = masks[0].dropped(self.x, 0.2)
        kept = masks[1].keep(dropped, 0.4)
        outputs = [dropped, kept, theano.grad((dropped**2).sum(), self.x)]
        self.states = [state for each in masks for state in each.states]
        self.function = theano.function([self.x], outputs, mode=mode)

    def __call__(self, value: NDArray[Any]) -> list[NDArray[Any]]:
        for state in self.states:
            state.set_value(state.get_value() * [1, 0])
        results: list[NDArray[Any]] = [*self.function(value), *self.function(value)]
        return results


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_are_the_same_with_any_number_of_threads_and_without_c(threads: Any, dtype: str) -> None:
    value = np.random.default_rng(0).normal(size=(133, 701)).astype(dtype)
    compiled, plain = Masked(dtype=dtype), Masked(PYTHON, dtype)
    wanted = plain(value)
    assert not np.array_equal(wanted[0], wanted[3])
    for count in (1, 2, 3):
        threads(count)
        for one, other in zip(compiled(value), wanted, strict=True):
            assert one.dtype == dtype
            np.testing.assert_array_equal(one, other)
    # The gradient of Σ (x m)² is 2 x m².
    mask = np.where(wanted[0] != 0, np.asarray(1 / 0.8, dtype), 0)
    np.testing.assert_allclose(wanted[2], 2 * value * mask**2, rtol=1e-5)


def test_a_longer_batch_begins_with_the_same_mask() -> None:
    long, short = (Masked(PYTHON)(np.ones((rows, 30), np.float32))[0] for rows in (50, 7))
    np.testing.assert_array_equal(long[:7], short)


def test_the_symbolic_form_of_other_devices_draws_the_same_words() -> None:
    x, state = tensor.matrix(), tensor.lvector()
    value, where = np.zeros((3, 70), np.float32), np.array([-5, (1 << 33) + 4])
    for mode in (PYTHON, None):
        drawn = theano.function([x, state], words_at(state, places_of(x)), mode=mode)(value, where)
        np.testing.assert_array_equal(drawn.ravel(), words(where, 210))


def test_an_older_runs_random_state_is_refused() -> None:
    network = Network([Dropout(0.5)], (3,))
    network.output(network.input_variable(), training=True)
    (state,) = network.random_states
    assert state.get_value().shape == (2,)
    name = f"random.{state.name}"
    with pytest.raises(UsageError, match=rf"{name} has the shape \(60, 6\), but this .* has \(2,\)"):
        check_state({name: state}, {name: np.zeros((60, 6), np.int32)}, "last")


@pytest.mark.parametrize("shape", [(), (5,), (2, 0, 4), (3, 4), (2, 3, 1, 5)])
def test_places_are_counted_along_each_axis_alone(shape: tuple[int, ...]) -> None:
    x = tensor.TensorType("float32", [False] * len(shape))()
    function = theano.function([x], places_of(x), on_unused_input="ignore", mode=PYTHON)
    found = function(np.zeros(shape, "float32"))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.arange(np.prod(shape, dtype=int)).reshape(shape))
    operations = [type(node.op) for node in function.maker.fgraph.toposort()]
    assert operations.count(tensor.ARange) == len(shape)
