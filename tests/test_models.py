"""Models from their options, and what a network does with its weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from omegaconf import OmegaConf
from safetensors.numpy import load_file
from theano import tensor

from trainer import models
from trainer.data import digits
from trainer.errors import UsageError
from trainer.layers import (
    Builder,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Reshape,
    Residual,
    Sequential,
    Shape,
)
from trainer.models import Network, mlp, softmax
from trainer.objectives import cross_entropy

CONF = Path(__file__).parents[1] / "conf" / "model"


def described(layers: list[Layer]) -> list[Any]:
    """Give the layers' kinds with their main argument."""
    return [
        (layer.units, layer.activation)
        if isinstance(layer, Dense)
        else layer.rate
        if isinstance(layer, Dropout)
        else layer.kind
        for layer in layers
    ]


class TestMlp:
    def test_has_its_hidden_layers_in_order_and_linear_outputs(self) -> None:
        assert described(mlp((7,), 3, hidden=[5, 4], activation="tanh")) == [
            (5, "tanh"),
            (4, "tanh"),
            (3, "linear"),
        ]

    def test_flattens_what_is_no_vector(self) -> None:
        assert described(mlp((1, 8, 8), 10, hidden=[])) == ["flatten", (10, "linear")]

    def test_takes_one_number_for_one_hidden_layer(self) -> None:
        assert described(mlp((7,), 3, hidden=5)) == [(5, "relu"), (3, "linear")]

    def test_places_dropout_after_the_inputs_and_each_hidden_layer(self) -> None:
        options: dict[str, Any] = {"hidden": [5, 4], "input_dropout": 0.1}
        one = described(mlp((7,), 3, **options, dropout=0.5))
        assert one == [0.1, (5, "relu"), 0.5, (4, "relu"), 0.5, (3, "linear")]
        each = described(mlp((7,), 3, **options, dropout=[0.2, 0.0]))
        assert each == [0.1, (5, "relu"), 0.2, (4, "relu"), (3, "linear")]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"hidden": [5, 4], "dropout": [0.5]},
                r"model.dropout has 1 rates for 2 .*model.hidden=\[5, 4\]",
            ),
            ({"hidden": [5, 0]}, r"model.hidden\[1\]=0: give a whole number of at least 1"),
            ({"dropout": 1.0}, "model.dropout=1.0: give a number of at least 0 and below 1"),
            ({"hidden": [5, 4], "dropout": [0.5, -1]}, r"model.dropout\[1\]=-1"),
            ({"input_dropout": 1.5}, "model.input_dropout=1.5"),
            ({"activation": "sigmoyd"}, "model.activation=sigmoyd .*did you mean sigmoid?"),
            ({"initialization": "he_norm"}, "model.initialization=he_norm .*did you mean he_normal?"),
        ],
    )
    def test_refuses_options_by_their_key(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            mlp((7,), 3, **options)

    def test_softmax_is_one_linear_layer(self) -> None:
        layers = softmax((7,), 3, initialization="zeros")
        assert described(layers) == [(3, "linear")]
        assert np.all(Network(layers, (7,)).weights()["dense_1.W"] == 0)

    @pytest.mark.parametrize("name", ["mlp", "softmax", "cnn", "resnet", "autoencoder"])
    def test_the_yaml_file_knows_each_argument_and_its_default(self, name: str) -> None:
        node = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
        assert isinstance(node, dict)
        assert node.pop("_target_") == f"trainer.models.{name}"
        defaults = {
            key: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            for key, parameter in inspect.signature(getattr(models, name)).parameters.items()
            if parameter.default is not parameter.empty
        }
        assert node == defaults


class TestNetwork:
    def test_names_layers_by_kind_and_count_and_gives_a_row_for_each(self) -> None:
        network = Network(mlp((1, 2, 2), 3, hidden=[5, 6], dropout=0.5), (1, 2, 2))
        assert network.rows() == [
            ("flatten_1", (4,), 0),
            ("dense_1", (5,), 4 * 5 + 5),
            ("dropout_1", (5,), 0),
            ("dense_2", (6,), 5 * 6 + 6),
            ("dropout_2", (6,), 0),
            ("dense_3", (3,), 6 * 3 + 3),
        ]
        assert [parameter.name for parameter in network.parameters] == [
            f"dense_{number}.{name}" for number in (1, 2, 3) for name in "Wb"
        ]
        assert {parameter.dtype for parameter in network.parameters} == {"float32"}

    def test_its_input_variable_has_the_shape_and_dtype_of_a_batch(self) -> None:
        batch = Network([Flatten()], (1, 8, 8)).input_variable()
        assert (batch.ndim, batch.dtype, any(batch.broadcastable)) == (4, "float32", False)

    def test_learns_the_digits(self) -> None:
        data, objective = digits(), cross_entropy()
        network = Network(mlp(data.input_shape, data.outputs, hidden=[32]), data.input_shape)
        x, targets = network.input_variable(), objective.target_variable()
        loss = tensor.mean(objective.losses(network.output(x, training=True), targets))
        slopes = theano.grad(loss, network.parameters)
        pairs = zip(network.parameters, slopes, strict=True)
        step = theano.function(
            [x, targets], loss, updates=[(p, p - np.float32(0.5) * slope) for p, slope in pairs]
        )
        for _ in range(100):
            step(data.train.inputs, data.train.targets)
        output = theano.function([x], network.output(x, training=False))(data.test.inputs)
        assert (output.argmax(axis=1) == data.test.targets).mean() > 0.9

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            ([], "no layers"),
            (
                [Dropout(0.5), Dense(3)],
                r"layer 2 \(dense_1\) takes vectors or .*, but gets the shape \(1, 2, 2\): put a Flatten",
            ),
            ([Flatten(), *[Dense(4)] * 2], r"layer 3 \(dense_2\) stands in the network twice"),
            (
                [Flatten(), Residual([Dense(4), Sequential([Reshape([2, 2]), Conv2D(1, 1)])])],
                r"layer 2.2.2 \(residual_1.sequential_1.conv2d_1\) takes images",
            ),
            ([Residual([Flatten()], [Conv2D(1, 5)])], r"layer 1.shortcut.1 \(residual_1.shortcut.conv2d_1\)"),
            (
                [Flatten(), Residual([Dense(3)])],
                r"layer 2 \(residual_1\) takes .* the shape \(4,\): its layers give \(3,\), "
                r"but its shortcut \(4,\)",
            ),
            (
                [Reshape([3, -1])],
                r"layer 1 \(reshape_1\) takes what can become \(3, -1\), .* \(1, 2, 2\): it has 4 elements",
            ),
        ],
    )
    def test_refuses_layers_that_do_not_fit(self, layers: list[Layer], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Network(layers, (1, 2, 2))

    def test_a_layer_of_ones_own_keeps_buffers_that_a_step_updates(self) -> None:
        class Counting(Layer):
            def build(self, input_shape: Shape, builder: Builder) -> Shape:
                self.steps = builder.parameter("steps", (), 0.0, trained=False)
                return input_shape

            def apply(self, x: Any, training: bool) -> Any:
                if training:
                    self.updates = {self.steps: self.steps + np.float32(1)}
                return x

        network = Network([Dense(2), Counting()], (2,))
        assert network.updates(training=True) == {}
        x = network.input_variable()
        output = network.output(x, training=True)
        step = theano.function([x], output, updates=network.updates(training=True), mode="FAST_COMPILE")
        for _ in range(3):
            step(np.zeros((1, 2), np.float32))
        assert network.weights()["counting_1.steps"] == 3
        assert len(network.parameters) == 2


class TestWeights:
    @pytest.fixture
    def network(self) -> Network:
        return Network([Dense(2), Dense(3)], (4,), seed=1)

    def test_come_back_from_a_file_that_others_can_read(self, network: Network, tmp_path: Path) -> None:
        file = tmp_path / "weights.safetensors"
        network.save(file)
        weights = load_file(file)
        assert {name: values.shape for name, values in weights.items()} == {
            "dense_1.W": (4, 2),
            "dense_1.b": (2,),
            "dense_2.W": (2, 3),
            "dense_2.b": (3,),
        }
        other = Network([Dense(2), Dense(3)], (4,), seed=2)
        other.load(file)
        assert all(np.array_equal(other.weights()[name], values) for name, values in weights.items())
        assert [path.name for path in tmp_path.iterdir()] == [file.name]

    def test_are_written_in_c_order_whatever_the_parameter_has(
        self, network: Network, tmp_path: Path
    ) -> None:
        values = np.arange(8, dtype=np.float32).reshape(2, 4)
        network.parameters[0].set_value(values.T)
        network.save(tmp_path / "weights")
        assert np.array_equal(load_file(tmp_path / "weights")["dense_1.W"], values.T)

    def test_are_copies(self, network: Network) -> None:
        before = network.weights()
        network.weights()["dense_1.W"][:] = 7
        given = {name: values + 1 for name, values in before.items()}
        network.load_weights(given)
        given["dense_1.W"][:] = 9
        assert np.array_equal(network.weights()["dense_1.W"], before["dense_1.W"] + 1)

    def test_of_another_precision_are_converted(self, network: Network) -> None:
        doubled = {name: values.astype(np.float64) for name, values in network.weights().items()}
        network.load_weights(doubled)
        assert {values.dtype for values in network.weights().values()} == {np.dtype("float32")}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"dense_2.b": None}, "dense_2.b is missing; the network needs dense_1.W, dense_1.b"),
            ({"dense_9.W": np.zeros(1)}, "no dense_9.W: did you mean"),
            (
                {"dense_2.W": np.zeros((3, 2))},
                r"dense_2.W has the shape \(3, 2\), but the network's has \(2, 3\)",
            ),
        ],
    )
    def test_that_do_not_fit_are_refused_whole(
        self, network: Network, change: dict[str, Any], message: str
    ) -> None:
        before = network.weights()
        changed = {**{name: values + 1 for name, values in before.items()}, **change}
        with pytest.raises(UsageError, match=message):
            network.load_weights({name: values for name, values in changed.items() if values is not None})
        assert all(np.array_equal(network.weights()[name], values) for name, values in before.items())

    def test_a_file_that_does_not_fit_is_named(self, network: Network, tmp_path: Path) -> None:
        file = tmp_path / "weights"
        with pytest.raises(UsageError, match=f"{file}: cannot be read"):
            network.load(file)
        file.write_bytes(b"no tensors at all")
        with pytest.raises(UsageError, match=f"{file}: is no sound safetensors file"):
            network.load(file)
        Network([Dense(2)], (4,)).save(file)
        with pytest.raises(UsageError, match=f"{file}: weights: dense_2.W is missing"):
            network.load(file)
