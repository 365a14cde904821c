"""The compiled passes of recurrent networks against those in NumPy, which are held to PyTorch's numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer.kernels.cells import ACTIVATIONS, Cell, GRUCell, LSTMCell, SimpleCell
from trainer.kernels.recurrent import Recurrence, RecurrenceGradient, recurrence
from trainer.layers import LSTM, Dense, OneHot
from trainer.models import Network
from trainer.runtime import threads

Array = NDArray[Any]

PYTHON = theano.Mode(linker="py", optimizer=None)
# Nothing is compiled but the kernel: one module for all that stands here, and one for float64.
C = theano.Mode(linker="cvm", optimizer=None)
IN_PLACE = theano.Mode(linker="cvm", optimizer=None).including("overwrite_inputs")
CELLS: tuple[type[Cell], ...] = (SimpleCell, LSTMCell, GRUCell)
VOCABULARY = 5


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = threads.shared[0]
    threads.shared[0] = 2
    yield
    threads.shared[0] = before


def arguments(cell: Cell, shape: tuple[int, int, int], dtype: str, tokens: bool) -> list[Array]:
    """Draw x·W or a table, U, b, tokens where they are asked for, a mask, the states, and gradients."""
    steps, examples, units = shape
    draws = np.random.default_rng(3)
    wide = cell.gates * units
    first = (VOCABULARY, wide) if tokens else (steps, examples, wide)
    shapes = [first, (units, wide), (cell.biases * units,)]
    values = [draws.normal(size=each).astype(dtype) * np.dtype(dtype).type(0.7) for each in shapes]
    if tokens:
        # Some are in no table.
        values.append(draws.integers(-1, VOCABULARY + 2, size=(steps, examples)))
    values.append((draws.uniform(size=(steps, examples)) > 0.2).astype(dtype))
    values += [draws.normal(size=(examples, units)).astype(dtype) for _ in range(cell.states)]
    return values + [draws.normal(size=(steps, examples, units)).astype(dtype) for _ in range(cell.states)]


def passes(
    cell: Cell, values: list[Array], mode: Any, *, tokens: bool, masked: bool = True, backwards: bool = False
) -> list[Array]:
    """Give all states after all steps, and the gradients of everything that has one."""
    given = [tensor.TensorType(value.dtype, (False,) * value.ndim)() for value in values]
    by_token = given[3] if tokens else None
    rest = given[3 + tokens :]
    initial, slopes = rest[1 : 1 + cell.states], rest[1 + cell.states :]
    mask = rest[0] if masked else None
    x, weights, bias = given[:3]
    states = recurrence(cell, x, weights, bias, initial, tokens=by_token, mask=mask, backwards=backwards)
    gradients = theano.grad(
        None, [*given[:3], *initial], known_grads=OrderedDict(zip(states, slopes, strict=True))
    )
    function = theano.function(given, [*states, *gradients], mode=mode, on_unused_input="ignore")
    results: list[Array] = function(*values)
    return results


def assert_equal_to_rounding(found: list[Array], wanted: list[Array]) -> None:
    for place, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        scale = max(1.0, float(abs(theirs).max(initial=0)))
        tolerance = 2e-5 if theirs.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(ours, theirs, atol=tolerance * scale, err_msg=f"result {place}")


class TestAgainstNumPy:
    @pytest.mark.parametrize("kind", CELLS)
    @pytest.mark.parametrize(
        # One unit, less than a vector, two vectors and a bit, several tiles of examples.
        "shape",
        [(3, 1, 1), (4, 3, 7), (3, 37, 16), (2, 16, 50), (3, 5, 70)],
    )
    def test_shapes(self, kind: type[Cell], shape: tuple[int, int, int]) -> None:
        cell = kind()
        for tokens in (False, True):
            values = arguments(cell, shape, "float32", tokens)
            assert_equal_to_rounding(
                passes(cell, values, C, tokens=tokens), passes(cell, values, PYTHON, tokens=tokens)
            )

    @pytest.mark.parametrize("kind", CELLS)
    def test_double_precision_backwards_and_without_a_mask(self, kind: type[Cell]) -> None:
        cell = kind()
        values = arguments(cell, (4, 9, 21), "float64", tokens=False)
        for backwards, masked in product((False, True), repeat=2):
            found, wanted = (
                passes(cell, values, mode, tokens=False, masked=masked, backwards=backwards)
                for mode in (C, PYTHON)
            )
            assert_equal_to_rounding(found, wanted)

    @pytest.mark.parametrize("kind", CELLS)
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_activations(self, kind: type[Cell], activation: str, dtype: str) -> None:
        cell = kind(activation)
        values = arguments(cell, (2, 4, 5), dtype, tokens=False)
        assert_equal_to_rounding(
            passes(cell, values, C, tokens=False), passes(cell, values, PYTHON, tokens=False)
        )

    @pytest.mark.parametrize("kind", CELLS)
    def test_an_empty_batch_and_a_single_step(self, kind: type[Cell]) -> None:
        cell = kind()
        for shape in ((2, 0, 3), (1, 2, 3)):
            values = arguments(cell, shape, "float32", tokens=False)
            found = passes(cell, values, C, tokens=False)
            wanted = passes(cell, values, PYTHON, tokens=False)
            assert [each.shape for each in found] == [each.shape for each in wanted]
            assert_equal_to_rounding(found, wanted)


class TestFunctions:
    """Of float32, whose functions are this program's own, at all sizes of sums."""

    SUMS = np.concatenate([np.linspace(-100, 100, 4001), np.linspace(-1, 1, 4001), [1e-30, 1e30, -1e30, 0]])

    @pytest.mark.parametrize(
        ("activation", "function"),
        [("tanh", np.tanh), ("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("elu", None)],
    )
    def test_are_exact_to_a_few_units_in_the_last_place(self, activation: str, function: Any) -> None:
        function = function or (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))))
        sums = self.SUMS.astype(np.float32)
        with np.errstate(over="ignore"):
            wanted = function(sums.astype(np.float64))
        found = self._apply(activation, sums)
        # Where 1 / (1 + exp(x)) leaves the normal numbers, it stays at their end.
        np.testing.assert_allclose(found, wanted, rtol=4 * 2.0**-23, atol=1e-37)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_what_is_not_a_number_stays_so(self, activation: str) -> None:
        found = self._apply(activation, np.array([np.nan, 1], np.float32))
        assert np.isnan(found).tolist() == [True, False]

    @staticmethod
    def _apply(activation: str, sums: Array) -> Array:
        projected, weights, bias = tensor.ftensor3(), tensor.fmatrix(), tensor.fvector()
        state = tensor.fmatrix()
        (result,) = recurrence(SimpleCell(activation), projected, weights, bias, [state])
        function = theano.function([projected, weights, bias, state], result, mode=C)
        zeros = [np.zeros(shape, np.float32) for shape in ((1, 1), (1,), (len(sums), 1))]
        found: Array = function(sums.reshape(1, -1, 1), *zeros)
        return found.ravel()


class TestBits:
    @pytest.mark.parametrize("kind", CELLS)
    def test_are_the_same_with_two_threads(self, kind: type[Cell], request: pytest.FixtureRequest) -> None:
        cell = kind()
        values = arguments(cell, (5, 61, 40), "float32", tokens=True)
        one = passes(cell, values, C, tokens=True)
        request.getfixturevalue("two_threads")
        for ours, theirs in zip(passes(cell, values, C, tokens=True), one, strict=True):
            # The weights' gradient is the matrix library's.
            if ours.shape != (40, cell.gates * 40):
                np.testing.assert_array_equal(ours, theirs)

    def test_are_the_same_in_place(self) -> None:
        values = arguments(LSTMCell(), (4, 6, 20), "float32", tokens=False)
        found = passes(LSTMCell(), values, IN_PLACE, tokens=False)
        for ours, theirs in zip(found, passes(LSTMCell(), values, C, tokens=False), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestMemory:
    def test_an_lstm_keeps_its_gates_where_its_sums_were(self) -> None:
        network = Network([LSTM(3, return_sequences=True)], (4, 2))
        x = network.input_variable()
        gradients = theano.grad(network.output(x, training=True).sum(), network.parameters)
        function = theano.function([x], gradients, mode="FAST_RUN")
        kinds = (Recurrence, RecurrenceGradient)
        found = [node.op for node in function.maker.fgraph.toposort() if isinstance(node.op, kinds)]
        assert len(found) == 2
        assert all(each.in_place for each in found)

    def test_arguments_are_left_as_they_were(self) -> None:
        values = arguments(LSTMCell(), (3, 4, 6), "float32", tokens=False)
        copies = [value.copy() for value in values]
        passes(LSTMCell(), values, IN_PLACE, tokens=False)
        for value, copy in zip(values, copies, strict=True):
            np.testing.assert_array_equal(value, copy)


class TestTokens:
    def test_a_network_of_tokens_multiplies_no_vectors_of_them(self) -> None:
        """It gives what the same network gives of vectors that come from elsewhere."""
        draws = np.random.default_rng(1)
        tokens = draws.integers(0, 6, size=(4, 3)).astype(np.int32)
        by_token = Network([OneHot(6), LSTM(5), Dense(2)], (3,), input_dtype="int32")
        by_vector = Network([LSTM(5), Dense(2)], (3, 6))
        by_vector.load_weights(by_token.weights())
        results = []
        for network, inputs in ((by_token, tokens), (by_vector, np.eye(6, dtype=np.float32)[tokens])):
            x = network.input_variable()
            output = network.output(x, training=True)
            gradients = theano.grad(output.sum(), network.parameters)
            function = theano.function([x], [output, *gradients], mode="FAST_RUN")
            results.append(function(inputs))
            nodes = function.maker.fgraph.toposort()
            products = [node for node in nodes if any(kind in str(node.op) for kind in ("Dot", "Product"))]
            wide = [node for node in products if any(v.name == "lstm_1.W" for v in node.inputs)]
            assert bool(wide) == (network is by_vector)
        assert_equal_to_rounding(*results)


class TestErrors:
    def test_arrays_that_do_not_fit_are_refused(self) -> None:
        values = arguments(LSTMCell(), (2, 3, 4), "float32", tokens=False)
        values[2] = values[2][:-1]
        with pytest.raises(ValueError, match="bias of 15 instead of 16"):
            passes(LSTMCell(), values, C, tokens=False)

    def test_states_of_another_batch_are_named(self) -> None:
        values = arguments(LSTMCell(), (2, 3, 4), "float32", tokens=False)
        values[4] = values[4][:2]
        for mode in (C, PYTHON):
            with pytest.raises(
                ValueError, match=r"of 2 examples, but the batch has 3: call Network.reset_states"
            ):
                passes(LSTMCell(), values, mode, tokens=False)

    def test_types_that_do_not_go_together_are_refused(self) -> None:
        states = [tensor.fmatrix()]
        with pytest.raises(TypeError, match="recurrence"):
            recurrence(SimpleCell(), tensor.ftensor3(), tensor.dmatrix(), tensor.fvector(), states)
