"""Recurrent layers: PyTorch's numbers, gradients, masks, carried states, and networks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.configparser import change_flags

from trainer.activations import ACTIVATIONS
from trainer.errors import UsageError
from trainer.kernels.cells import GRUCell, LSTMCell, SimpleCell
from trainer.kernels.products import add_product
from trainer.kernels.recurrent import recurrence
from trainer.layers import GRU, LSTM, Dense, Embedding, ImageRows, Layer, Masking, OneHot, SimpleRNN
from trainer.models import Network, char_lstm, lstm

Array = NDArray[Any]

KINDS: Mapping[str, type[LSTM] | type[GRU] | type[SimpleRNN]] = {
    "lstm": LSTM,
    "gru": GRU,
    "simplernn": SimpleRNN,
}
# Without C: compiling the rest costs more than it says, and the kernel has tests of its own.
MODE = "FAST_COMPILE"
# The kernel, and of the rest what Theano does in Python without optimization.
WITH_C = theano.Mode(linker="cvm", optimizer=None)


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Array]:
    with np.load(Path(__file__).parent / "references" / "recurrent.npz") as file:
        return dict(file)


@pytest.fixture
def float64() -> Any:
    with change_flags(floatX="float64"):
        yield


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def compiled(
    network: Network, training: bool = False, extra: Callable[[Any], Sequence[Any]] = lambda output: []
) -> Any:
    """Compile the network's output, and more, with the updates of its states."""
    x = network.input_variable()
    output = network.output(x, training)
    updates = list(network.updates(training).items())
    return theano.function([x], [output, *extra(output)], updates=updates, mode=MODE)


def network_of(*layers: Layer, shape: tuple[int, ...], tokens: bool = False) -> Network:
    """Build layers with weights that are drawn anew, so that none stays 0."""
    network = Network(layers, shape, 1, "int32" if tokens else None)
    draws = generator()
    network.load_weights({name: draws.normal(size=w.shape) * 0.6 for name, w in network.weights().items()})
    return network


def _gates(kind: str, stacked: Array) -> Array:
    """Put the gates, blocks of the first axis in PyTorch, into this program's order."""
    blocks = np.split(stacked, {"lstm": 4, "gru": 3, "simplernn": 1}[kind])
    order = [0, 1, 3, 2] if kind == "lstm" else range(len(blocks))
    return np.concatenate([blocks[place] for place in order])


def converted(
    kind: str, table: Mapping[str, Array], prefix: str = "", gradient: bool = False
) -> dict[str, Array]:
    """Return PyTorch's parameters, or their gradients, in this program's form.

    PyTorch has two biases a gate, and only one counts where nothing stands between them.
    """
    result = {}
    for suffix, theirs in (("", "l0"), ("_backward", "l0_reverse")):
        if f"weight_ih_{theirs}" not in table:
            continue
        found = {
            name: _gates(kind, table[f"{prefix}{name}_{theirs}"])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        bias = found["bias_ih"] if gradient else found["bias_ih"] + found["bias_hh"]
        if kind == "gru":
            units = len(bias) // 3
            bias = np.concatenate(
                [bias[: 2 * units], found["bias_ih"][2 * units :], found["bias_hh"][2 * units :]]
            )
        result[f"W{suffix}"], result[f"U{suffix}"] = found["weight_ih"].T, found["weight_hh"].T
        result[f"b{suffix}"] = bias
    return result


CASES = [
    "lstm",
    "gru",
    "simplernn",
    "simplernn_relu",
    *(f"{kind}_bidirectional{lengths}" for kind in KINDS for lengths in ("", "_lengths")),
]


class TestAgainstPyTorch:
    @pytest.mark.parametrize("mode", [MODE, WITH_C], ids=["python", "c"])
    @pytest.mark.parametrize("case", CASES)
    def test_outputs_and_gradients_are_pytorchs(
        self, case: str, mode: Any, reference: Mapping[str, Array]
    ) -> None:
        table = {key.split("/")[1]: value for key, value in reference.items() if key.split("/")[0] == case}
        kind = case.split("_")[0]
        packed = case.endswith("_lengths")
        layer = KINDS[kind](
            units=table["weight_hh_l0"].shape[1],
            activation="relu" if case.endswith("relu") else "tanh",
            return_sequences=not packed,
            bidirectional="bidirectional" in case,
        )
        layers = [Masking(), layer] if packed else [layer]
        inputs = table["x"].swapaxes(0, 1)
        network = Network(layers, inputs.shape[1:])
        network.load_weights({f"{kind}_1.{name}": value for name, value in converted(kind, table).items()})
        x = network.input_variable()
        output = network.output(x, training=True)
        g = table["g"] if packed else table["g"].swapaxes(0, 1)
        gradients = theano.grad((output * g).sum(), [x, *network.parameters])
        got, d_x, *d_parameters = theano.function([x], [output, *gradients], mode=mode)(inputs)

        wanted = table["last"] if packed else table["y"].swapaxes(0, 1)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        np.testing.assert_allclose(d_x, table["gradient_of_x"].swapaxes(0, 1), atol=1e-5)
        theirs = converted(kind, table, "gradient_of_", gradient=True)
        for parameter, value in zip(network.parameters, d_parameters, strict=True):
            np.testing.assert_allclose(value, theirs[parameter.name.split(".")[1]], rtol=1e-5, atol=1e-5)

    def test_the_last_output_is_that_of_the_last_step(self, reference: Mapping[str, Array]) -> None:
        table = {key[len("lstm/") :]: value for key, value in reference.items() if key.startswith("lstm/")}
        inputs = table["x"].swapaxes(0, 1)
        network = Network([LSTM(table["weight_hh_l0"].shape[1])], inputs.shape[1:])
        network.load_weights({f"lstm_1.{name}": value for name, value in converted("lstm", table).items()})
        np.testing.assert_allclose(compiled(network)(inputs)[0], table["last"], atol=1e-5)


@pytest.mark.usefixtures("float64")
class TestGradients:
    """Against differences of the outputs."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("bidirectional", [False, True])
    @pytest.mark.parametrize("masked", [False, True])
    @pytest.mark.parametrize("sequences", [False, True])
    def test_of_layers(self, kind: str, bidirectional: bool, masked: bool, sequences: bool) -> None:
        layer = KINDS[kind](2, bidirectional=bidirectional, return_sequences=sequences)
        network = network_of(*([Masking()] if masked else []), layer, shape=(3, 2))
        draws = generator()
        inputs = draws.normal(size=(2, 3, 2))
        mask = np.array([[1, 1, 1], [1, 0, 0]])[:, :, np.newaxis] if masked else np.ones((1, 1, 1))

        def output(x: Any, *parameters: Any) -> Any:
            replace = dict(zip(network.parameters, parameters, strict=True))
            return theano.clone(network.output(x * mask, training=True), replace=replace)

        points = [inputs, *(parameter.get_value() for parameter in network.parameters)]
        theano.gradient.verify_grad(output, points, rng=np.random.RandomState(1), mode=MODE)

    @pytest.mark.parametrize("cell", [SimpleCell, GRUCell, LSTMCell])
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_of_activations(self, cell: Any, activation: str) -> None:
        self._verify(cell(activation), backwards=False, masked=False)

    @pytest.mark.parametrize("cell", [SimpleCell, GRUCell, LSTMCell])
    def test_of_initial_states_and_of_what_a_cell_contains(self, cell: Any) -> None:
        self._verify(cell(), backwards=True, masked=True)

    @staticmethod
    def _verify(cell: Any, backwards: bool, masked: bool) -> None:
        draws, units = generator(), 2
        mask = tensor.constant(np.array([[1.0, 1], [0, 1], [0, 1]])) if masked else None

        def states(projected: Any, weights: Any, bias: Any, *initial: Any) -> Any:
            results = recurrence(cell, projected, weights, bias, initial, mask=mask, backwards=backwards)
            return tensor.concatenate(results)

        shapes = [(3, 2, cell.gates * units), (units, cell.gates * units), (cell.biases * units,)]
        points = [draws.normal(size=shape) for shape in (*shapes, *[(2, units)] * cell.states)]
        theano.gradient.verify_grad(states, points, rng=np.random.RandomState(1), mode=MODE)

    def test_of_an_embedding(self) -> None:
        network = network_of(Embedding(3, 4), shape=(3,), tokens=True)
        tokens = tensor.constant(np.array([[0, 3, 3], [1, 0, 2]], np.int32))

        def output(weights: Any) -> Any:
            return theano.clone(network.output(tokens, training=True), {network.parameters[0]: weights})

        start = [network.parameters[0].get_value()]
        theano.gradient.verify_grad(output, start, rng=np.random.RandomState(1), mode=MODE)


class TestMasks:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_sequences_filled_up_give_what_they_give_alone(self, kind: str, bidirectional: bool) -> None:
        layer = KINDS[kind](3, bidirectional=bidirectional)
        function = compiled(network_of(Masking(-1), layer, shape=(5, 2)))
        inputs = generator().normal(size=(2, 5, 2)).astype(np.float32)
        inputs[1, 3:] = -1
        short = inputs[1:, :3]
        np.testing.assert_allclose(function(inputs)[0][1:], function(short)[0], atol=1e-6)

    def test_a_masked_step_repeats_the_output(self) -> None:
        function = compiled(network_of(Masking(), LSTM(3, return_sequences=True), shape=(4, 2)))
        inputs = generator().normal(size=(1, 4, 2)).astype(np.float32)
        inputs[0, 2:] = 0
        output = function(inputs)[0][0]
        np.testing.assert_array_equal(output[2:], output[[1, 1]])
        assert not np.allclose(output[1], output[0])

    def test_an_embedding_masks_its_padding_through_several_layers(self) -> None:
        layers = [
            Embedding(3, 6, padding=5),
            GRU(3, return_sequences=True, bidirectional=True),
            LSTM(2),
            Dense(2),
        ]
        function = compiled(network_of(*layers, shape=(4,), tokens=True))
        tokens = np.array([[1, 5, 5, 5], [2, 0, 5, 5]], np.int32)
        for example, length in enumerate((1, 2)):
            alone = function(tokens[example : example + 1, :length])[0][0]
            np.testing.assert_allclose(function(tokens)[0][example], alone, atol=1e-6)

    def test_what_stands_in_masked_steps_does_not_matter(self) -> None:
        network = network_of(Embedding(3, 6, padding=5), SimpleRNN(3), shape=(3,), tokens=True)
        weights = network.weights()
        tokens = np.array([[1, 5, 5]], np.int32)
        before = compiled(network)(tokens)[0]
        weights["embedding_1.W"][5] = np.nan
        network.load_weights(weights)
        np.testing.assert_array_equal(compiled(network)(tokens)[0], before)


class TestCarriedStates:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("training", [False, True])
    def test_two_windows_give_what_one_long_one_gives(self, kind: str, training: bool) -> None:
        inputs = generator().normal(size=(3, 6, 2)).astype(np.float32)
        make = KINDS[kind]
        whole = compiled(network_of(make(4, return_sequences=True), shape=(6, 2)))(inputs)[0]
        carrying = network_of(make(4, return_sequences=True, carry=True), shape=(6, 2))
        function = compiled(carrying, training)
        for _ in range(2):
            carrying.reset_states(3, training)
            windows = [function(inputs[:, :2])[0], function(inputs[:, 2:])[0]]
            np.testing.assert_allclose(np.concatenate(windows, axis=1), whole, atol=1e-6)

    def test_an_evaluation_leaves_the_states_of_training_alone(self) -> None:
        network = network_of(LSTM(2, carry=True), shape=(3, 2))
        train, evaluate = compiled(network, training=True), compiled(network)
        first, second = generator().normal(size=(2, 4, 3, 2)).astype(np.float32)
        network.reset_states(4, training=True)
        train(first)
        undisturbed = train(second)[0]
        network.reset_states(4, training=True)
        train(first)
        network.reset_states(4, training=False)
        evaluate(second)
        np.testing.assert_array_equal(train(second)[0], undisturbed)

    def test_a_short_last_batch_goes_on_with_its_own_rows(self) -> None:
        network = network_of(GRU(2, carry=True), shape=(3, 2))
        function = compiled(network)
        first, second = generator().normal(size=(2, 4, 3, 2)).astype(np.float32)
        results = []
        for rows in (4, 2):
            network.reset_states(4, training=False)
            function(first)
            results.append(function(second[:rows])[0])
        np.testing.assert_allclose(results[1], results[0][:2], atol=1e-6)

    def test_the_gradient_stays_within_the_window(self) -> None:
        network = network_of(SimpleRNN(2, carry=True), shape=(2, 2))
        fresh = network_of(SimpleRNN(2), shape=(2, 2))
        inputs = generator().normal(size=(1, 2, 2)).astype(np.float32)

        def gradient(of: Network) -> Any:
            return compiled(of, True, lambda output: theano.grad(output.sum(), of.parameters))

        carrying = gradient(network)
        network.reset_states(1, training=True)
        np.testing.assert_allclose(carrying(inputs)[2], gradient(fresh)(inputs)[2], rtol=1e-5)

    def test_states_that_were_not_begun_are_named(self) -> None:
        network = network_of(LSTM(2, carry=True), shape=(3, 2))
        with pytest.raises(ValueError, match="reset_states"):
            compiled(network)(np.zeros((4, 3, 2), np.float32))

    def test_networks_know_whether_they_carry(self) -> None:
        assert network_of(LSTM(2, carry=True), shape=(3, 2)).carries_states
        assert not network_of(LSTM(2), shape=(3, 2)).carries_states


class TestParameters:
    def test_each_gate_begins_orthogonal_and_the_forget_gate_open(self) -> None:
        weights = Network([LSTM(6)], (4, 3), seed=3).weights()
        gates = np.split(weights["lstm_1.U"], 4, axis=1)
        for gate in gates:
            np.testing.assert_allclose(gate @ gate.T, np.eye(6), atol=1e-6)
        assert not np.allclose(gates[0], gates[1])
        np.testing.assert_array_equal(weights["lstm_1.b"], np.repeat([0, 1, 0, 0], 6))
        # Glorot: within ±√(6 / (features + units)) for each gate.
        assert 0.6 * np.sqrt(6 / 9) < abs(weights["lstm_1.W"]).max() <= np.sqrt(6 / 9)

    def test_shapes(self) -> None:
        network = Network([GRU(6, return_sequences=True, bidirectional=True), LSTM(5)], (4, 3))
        shapes = {name: value.shape for name, value in network.weights().items()}
        assert shapes == {
            **{f"gru_1.W{way}": (3, 18) for way in ("", "_backward")},
            **{f"gru_1.U{way}": (6, 18) for way in ("", "_backward")},
            **{f"gru_1.b{way}": (24,) for way in ("", "_backward")},
            "lstm_1.W": (12, 20),
            "lstm_1.U": (5, 20),
            "lstm_1.b": (20,),
        }
        assert [row.output_shape for row in network.rows()] == [(4, 12), (5,)]


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: LSTM(0), "units=0: give a whole number of at least 1"),
            (lambda: GRU(4, activation="tanhh"), "tanh"),
            (lambda: LSTM(4, recurrent_initialization="ortogonal"), "recurrent_initialization=ortogonal"),
            (lambda: SimpleRNN(4, bidirectional=True, carry=True), "set one of them to false"),
            (lambda: Embedding(4, 10, padding=10), "from 0 to 9"),
            (lambda: Network([LSTM(4)], (7,)), "layer 1 .lstm_1. takes sequences, .time, features."),
            (lambda: Network([ImageRows()], (7, 2)), "images"),
            (lambda: Network([Masking()], (7,)), "sequences"),
            (lambda: Network([OneHot(4)], (7, 2)), "sequences of tokens"),
            (lambda: lstm((7,), 3), "model=lstm takes sequences"),
            (lambda: lstm((7, 2), 3, cell="lstn"), "model.cell=lstn .* lstm"),
            (lambda: lstm((7, 2), 3, layers=0), "model.layers=0"),
            (lambda: lstm((7,), 3, 9, padding=0.5), "model.padding=0.5"),
            (lambda: char_lstm((7,), 3), "choose data=text"),
            (lambda: char_lstm((7,), 3, 3, dropout=1), "model.dropout=1"),
        ],
    )
    def test_say_what_is_allowed(self, make: Callable[[], Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            make()

    def test_tokens_must_be_whole_numbers(self) -> None:
        network = Network([Embedding(2, 4)], (3,))
        with pytest.raises(UsageError, match="numbers of tokens"):
            network.output(network.input_variable(), training=False)


class TestModels:
    @pytest.mark.parametrize(
        ("shape", "vocabulary", "padding"),
        [((5, 3), None, None), ((2, 5, 3), None, 0.0), ((5,), 7, 0)],
    )
    def test_lstm_takes_vectors_images_and_tokens(
        self, shape: tuple[int, ...], vocabulary: int | None, padding: float | None
    ) -> None:
        layers = lstm(
            shape, 4, vocabulary, units=3, layers=2, bidirectional=True, dropout=0.5, padding=padding
        )
        network = Network(layers, shape, input_dtype="int32" if vocabulary else None)
        inputs = generator().integers(0, 2, size=(6, *shape)).astype("int32" if vocabulary else "float32")
        assert compiled(network)(inputs)[0].shape == (6, 4)

    def test_images_are_read_row_by_row(self) -> None:
        network = Network([ImageRows()], (2, 3, 4))
        images = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
        rows = compiled(network)(images)[0]
        assert rows.shape == (1, 3, 8)
        assert rows[0, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]

    @pytest.mark.parametrize("embedding", [None, 2])
    def test_char_lstm_gives_logits_of_the_vocabulary_at_each_step(self, embedding: int | None) -> None:
        layers = char_lstm((5,), 7, 7, units=3, layers=2, embedding=embedding, dropout=0.2)
        network = Network(layers, (5,), input_dtype="int32")
        assert network.output_shape == (5, 7)
        network.reset_states(2, training=False)
        assert compiled(network)(np.array([[0, 1, 2, 3, 4]] * 2, np.int32))[0].shape == (2, 5, 7)


class TestProducts:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("transpose_a", [False, True])
    @pytest.mark.parametrize("transpose_b", [False, True])
    @pytest.mark.parametrize("strided", [False, True])
    def test_are_added(self, dtype: str, transpose_a: bool, transpose_b: bool, strided: bool) -> None:
        draws = generator()
        a, b, start = (draws.normal(size=shape).astype(dtype) for shape in ((3, 4), (4, 5), (3, 5)))
        out = np.zeros((3, 10), dtype)[:, ::2] if strided else np.zeros((3, 5), dtype)
        out[:] = start
        left = np.ascontiguousarray(a.T) if transpose_a else a
        right = np.ascontiguousarray(b.T) if transpose_b else b
        add_product(left, right, out, transpose_a=transpose_a, transpose_b=transpose_b)
        np.testing.assert_allclose(out, start + a @ b, rtol=1e-4)
