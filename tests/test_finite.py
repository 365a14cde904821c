"""The check of a step: what it lets pass, what it stops, and that a step that it stops writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer.kernels.finite import NonFinite, check_finite, hold
from trainer.layers import BatchNorm, Dense, Dropout, Layer
from trainer.models import Network
from trainer.training import TrainingStep, compile_training_step
from trainer.updates import adam

GENERATOR = np.random.default_rng(0)
NAMES = ("first.W", "second.W", "third.b")
PYTHON = theano.Mode(linker="py", optimizer="fast_compile")
# All of Theano's rewritings, those that compute in place above all, and none of its C.
REWRITTEN = theano.Mode(linker="py", optimizer="fast_run")


def checked(dtype: str, mode: Any, on_cpu: bool = True) -> Callable[..., list[Any]]:
    """Compile the check of three gradients; the results are the norm and the gradients."""
    inputs = [tensor.TensorType(dtype, (False,) * axes)() for axes in (0, 2, 3, 1)]
    gradients, norm = check_finite(inputs[0], inputs[1:], NAMES, on_cpu=on_cpu)
    borrowed = [theano.Out(gradient, borrow=True) for gradient in gradients]
    inputs = [theano.In(variable, borrow=True) for variable in inputs]
    function = theano.function(inputs, [norm, *borrowed], mode=mode)

    def call(*arrays: Any) -> list[Any]:
        try:
            results: list[Any] = function(*arrays)
        except NonFinite as error:
            raise error.recovered() from None
        return results

    return call


@pytest.fixture(scope="module", params=["C", "Python", "device"])
def check(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """Give the check of float32 in each of its forms."""
    return checked("float32", None if request.param == "C" else PYTHON, request.param != "device")


def arrays() -> list[NDArray[Any]]:
    """Give three gradients, of sizes that are no multiple of anything."""
    return [GENERATOR.normal(size=shape).astype(np.float32) for shape in ((37, 61), (3, 5, 7), (11,))]


def in_memory_otherwise(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Give the same numbers in other orders of memory, and with gaps."""
    spread = np.full([2 * length for length in array.shape], np.nan, array.dtype)
    every_second = spread[tuple(slice(None, None, -2) for _ in array.shape)]
    every_second[...] = array
    return [array, np.asfortranarray(array), every_second]


def test_finite_gradients_pass_unchanged_with_their_norm(check: Callable[..., list[Any]]) -> None:
    given = arrays()
    expected = np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in given))
    for variants in zip(*(in_memory_otherwise(array) for array in given), strict=True):
        norm, *passed = check(np.float32(1), *variants)
        assert norm.dtype == np.float64
        assert norm == pytest.approx(expected, rel=1e-12)
        for array, variant in zip(passed, variants, strict=True):
            assert array.dtype == np.float32
            assert np.array_equal(array, variant)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("gradient", range(3))
def test_a_number_that_is_not_finite_is_found_wherever_it_stands(
    check: Callable[..., list[Any]], gradient: int, value: float
) -> None:
    for place in (0, -1, 7):
        given = arrays()
        given[gradient].reshape(-1)[place] = value
        for variants in zip(*(in_memory_otherwise(array) for array in given), strict=True):
            with pytest.raises(NonFinite) as caught:
                check(np.float32(0.25), *variants)
            assert caught.value.loss == 0.25
            assert list(caught.value.elements) == [NAMES[gradient]]


def test_the_error_counts_the_elements_of_each_gradient() -> None:
    given = arrays()
    given[0][:2] = np.nan
    given[2][3] = np.inf
    with pytest.raises(NonFinite) as caught:
        checked("float32", PYTHON)(np.float32(np.nan), *given)
    assert np.isnan(caught.value.loss)
    assert caught.value.elements == {"first.W": 2 * 61, "third.b": 1}


def test_a_loss_that_is_not_finite_is_enough(check: Callable[..., list[Any]]) -> None:
    with pytest.raises(NonFinite) as caught:
        check(np.float32(np.inf), *arrays())
    assert (caught.value.loss, caught.value.elements) == (np.inf, {})


def test_the_largest_finite_numbers_are_no_alarm(check: Callable[..., list[Any]]) -> None:
    given = [np.full(array.shape, np.finfo(np.float32).max) for array in arrays()]
    expected = float(np.finfo(np.float32).max) * np.sqrt(sum(array.size for array in given))
    assert check(np.float32(1), *given)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mode", [None, PYTHON])
def test_squares_beyond_float64_are_no_alarm(mode: Any) -> None:
    given = [array.astype(np.float64) * 1e200 for array in arrays()]
    scaled = np.sqrt(sum(((array / 1e200) ** 2).sum() for array in given))
    assert checked("float64", mode)(1.0, *given)[0] == pytest.approx(scaled * 1e200, rel=1e-12)


def test_each_gradient_has_a_name() -> None:
    with pytest.raises(ValueError, match="1 gradients and 3 names"):
        check_finite(tensor.scalar(), [tensor.matrix()], NAMES)


class _Steps:
    """A network and its step as it is compiled for a run."""

    def __init__(self, layers: list[Layer], mode: Any) -> None:
        self.network = Network(layers, (4,), seed=1)
        inputs, targets = self.network.input_variable(), tensor.matrix("targets")
        loss = tensor.sqr(self.network.output(inputs, training=True) - targets).mean()
        parameters = self.network.parameters
        gradients, norm = check_finite(
            loss, theano.grad(loss, parameters), [each.name for each in parameters]
        )
        updates = {**adam(gradients, parameters), **self.network.updates(training=True)}
        self.shared = [*updates, *self.network.random_states]
        self.step: TrainingStep = compile_training_step(inputs, targets, loss, norm, updates, mode=mode)

    def bytes(self) -> list[bytes]:
        """Give all that the step writes."""
        return [variable.get_value().tobytes() for variable in self.shared]


def batches(count: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Give batches, the same in each call."""
    generator = np.random.default_rng(5)
    return [
        (generator.normal(size=(8, 4)).astype("f4"), generator.normal(size=(8, 3)).astype("f4"))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("layers", "mode"),
    [((Dropout(0.5), Dense(3)), None), ((Dense(6), BatchNorm(), Dropout(0.5), Dense(3)), REWRITTEN)],
)
def test_a_step_that_is_stopped_writes_nothing_and_the_next_goes_on(
    layers: tuple[Layer, ...], mode: Any
) -> None:
    disturbed, undisturbed = (_Steps([copy(layer) for layer in layers], mode) for _ in range(2))
    assert {"step", "dropout_1.random_1"} <= {each.name for each in disturbed.shared}
    assert any(each.name == "batchnorm_1.mean" for each in disturbed.shared) or mode is None
    wrong = np.full((8, 4), np.inf, np.float32)
    for inputs, targets in batches(4):
        before = disturbed.bytes()
        for _ in range(2):
            with pytest.raises(NonFinite):
                disturbed.step(wrong, targets)
            assert disturbed.bytes() == before
        assert [float(x) for x in disturbed.step(inputs, targets)] == [
            float(x) for x in undisturbed.step(inputs, targets)
        ]
        assert disturbed.bytes() == undisturbed.bytes()
        assert all(was != now for was, now in zip(before, disturbed.bytes(), strict=True))


def test_what_does_not_depend_on_the_gradients_would_be_written_without_hold() -> None:
    counter = theano.shared(np.zeros(3, np.float32))
    gradient = tensor.vector("gradient", dtype="float32")
    (_,), norm = check_finite(gradient.sum(), [gradient], ["w"])
    held = hold(norm, [counter])
    function = theano.function([gradient], held, updates=[(counter, counter + np.float32(1))])
    with pytest.raises(NonFinite):
        function(np.full(3, np.nan, np.float32))
    assert not counter.get_value().any()
    function(np.ones(3, np.float32))
    assert counter.get_value().all()
