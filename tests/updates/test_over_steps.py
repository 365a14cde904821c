"""What looks back over the steps of a run: lookahead, averages of the weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import theano

from trainer import updates

PYTHON = theano.Mode(linker="py")
STEPS, STEPS_PER_EPOCH = 40, 4
CHANGES = np.random.default_rng(7).normal(size=(STEPS, 3))


class Walk:
    """A parameter that goes a known way, with what accompanies it, compiled."""

    def __init__(self) -> None:
        self.weights = theano.shared(np.array([1.0, -1.0, 0.5]), name="W")
        self.change = theano.shared(np.zeros(3))
        self.clock = SimpleNamespace(
            step=None, epoch=theano.shared(np.array(0.0)), progress=theano.shared(np.array(0.0))
        )
        self.plain = {self.weights: self.weights + self.change}

    def go(self, built: Any, watched: Any) -> list[Any]:
        """Return the values of a shared variable after each step."""
        assert list(self.plain) == [self.weights]
        function = theano.function([], updates=built, mode=PYTHON)
        values = []
        for step, change in enumerate(CHANGES, 1):
            self.change.set_value(change)
            self.clock.epoch.set_value(np.array(step / STEPS_PER_EPOCH))
            self.clock.progress.set_value(np.array(step / STEPS))
            function()
            values.append(watched.get_value())
        return values


ITERATES = np.array([1.0, -1.0, 0.5]) + np.cumsum(CHANGES, axis=0)


def test_lookahead_takes_k_steps_forward_and_one_back() -> None:
    walk = Walk()
    built = updates.lookahead(walk.plain, [walk.weights], k=3, alpha=0.4)
    assert [variable.name for variable in built] == ["W", "W.wrapper.slow", "wrapper.since"]
    found = walk.go(built, walk.weights)
    fast = slow = np.array([1.0, -1.0, 0.5])
    for step, change in enumerate(CHANGES, 1):
        fast = fast + change
        if step % 3 == 0:
            slow = slow + 0.4 * (fast - slow)
            fast = slow
        np.testing.assert_allclose(found[step - 1], fast, rtol=1e-12)


def test_lookahead_heeds_a_k_that_changes_and_starts_anew_at_each_return() -> None:
    walk = Walk()
    k = theano.shared(np.array(10.0))
    built = updates.lookahead(walk.plain, [walk.weights], k=k, alpha=1.0)
    slow, since = list(built)[1:]
    function = theano.function([], updates=built, mode=PYTHON)
    returns = []
    for step in range(1, 11):
        k.set_value(np.array(2.0 if step > 4 else 10.0))
        function()
        if since.get_value() == 0:
            returns.append(step)
    assert returns == [5, 7, 9]
    assert slow.dtype == "float64"


@pytest.mark.parametrize("rising", [False, True])
def test_the_exponential_average_follows_the_new_values(rising: bool) -> None:
    walk = Walk()
    decay = theano.shared(np.array(0.9))
    built, averages = updates.exponential_average(
        walk.plain, [walk.weights], None, decay=decay, rising=rising
    )
    assert [variable.name for variable in built] == ["W", "W.average", "averaging.count"]
    found = walk.go(built, averages[walk.weights])
    expected = np.array([1.0, -1.0, 0.5])
    for step, iterate in enumerate(ITERATES, 1):
        kept = min(0.9, (1 + step) / (10 + step)) if rising else 0.9
        expected = kept * expected + (1 - kept) * iterate
        np.testing.assert_allclose(found[step - 1], expected, rtol=1e-12)


@pytest.mark.parametrize(("start", "first"), [(0.0, 1), (0.5, 21), (0.9, 37)])
def test_the_polyak_average_is_the_mean_since_its_start(start: float, first: int) -> None:
    walk = Walk()
    # A float32, as hyperparameters are: its 0.9 is below 0.9.
    given = theano.shared(np.float32(start))
    built, averages = updates.polyak_average(walk.plain, [walk.weights], walk.clock, start=given)
    found = walk.go(built, averages[walk.weights])
    for step in range(1, STEPS + 1):
        iterates = ITERATES[first - 1 : step] if step >= first else ITERATES[step - 1 : step]
        np.testing.assert_allclose(found[step - 1], iterates.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "every", "samples"),
    [
        (0.0, 1.0, list(range(4, 41, 4))),
        (0.5, 2.0, [24, 32, 40]),
        (0.0, 0.5, list(range(2, 41, 2))),
        (0.0, 0.3, [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]),
    ],
)
def test_stochastic_averaging_takes_a_sample_at_the_end_of_each_span(
    start: float, every: float, samples: list[int]
) -> None:
    walk = Walk()
    hyperparameters = [theano.shared(np.float32(value)) for value in (start, every)]
    built, averages = updates.stochastic_average(walk.plain, [walk.weights], walk.clock, *hyperparameters)
    assert [v.name for v in built] == ["W", "W.average", "averaging.count", "averaging.span"]
    found = walk.go(built, averages[walk.weights])
    last = STEPS if every != 0.3 else 12
    for step in range(1, last + 1):
        taken = [sample for sample in samples if sample <= step] or [step]
        np.testing.assert_allclose(found[step - 1], ITERATES[np.array(taken) - 1].mean(axis=0), rtol=1e-6)


def test_averages_start_at_the_values_and_keep_the_type() -> None:
    weights = theano.shared(np.array([[1.5], [2.0]], dtype="float32"), name="W", broadcastable=(False, True))
    for function in (updates.exponential_average, updates.polyak_average, updates.stochastic_average):
        clock = SimpleNamespace(epoch=theano.shared(np.array(1.0)), progress=theano.shared(np.array(1.0)))
        built, averages = function({weights: weights * 1}, [weights], clock)
        average = averages[weights]
        assert average.type == weights.type
        assert built[average].dtype == "float32"
        np.testing.assert_array_equal(average.get_value(), weights.get_value())


def test_what_has_no_update_cannot_be_averaged() -> None:
    walk = Walk()
    with pytest.raises(ValueError, match="updates has nothing for W, which is to be averaged"):
        updates.exponential_average({}, [walk.weights], None)
