"""Networks described in YAML and by functions of one's own, and the models for images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
import yaml
from numpy.typing import NDArray
from theano import tensor
from theano.sandbox.rng_mrg import MRG_RandomStreams

from trainer.components import Component
from trainer.errors import UsageError
from trainer.layers import Activation, Builder, Dense, Dropout, Flatten, Layer, Shape
from trainer.models import Network, autoencoder, cnn, layers, layers_of, resnet
from trainer.ranges import refuse_out_of_range

PYTHON = theano.Mode(linker="py", optimizer="fast_run")


class Scaled(Layer):
    """A layer as a user writes one."""

    def __init__(self, by: float, inner: list[Layer] | None = None) -> None:
        self.by, self.inner = by, inner or []

    def build(self, input_shape: Shape, builder: Builder) -> Shape:
        return builder.build_all(self.inner, input_shape)

    def apply(self, x: Any, training: bool) -> Any:
        return x * np.float32(self.by)


def no_layer(size: int = 1) -> int:
    return size


def network(text: str, input_shape: Shape = (1, 6, 6), outputs: int = 3) -> Network:
    """Build what a YAML list of layers describes."""
    described = yaml.safe_load(text)
    refuse_out_of_range({"model": {"layers": described}})
    return Network(layers(input_shape, outputs, described), input_shape)


class TestLayersInYaml:
    def test_build_the_network_that_they_describe(self) -> None:
        built = network(
            """
            - conv2d: {filters: 4, kernel: 3, padding: same, activation: relu}
            - maxpool2d: {size: 2}
            - residual:
                layers: [conv2d: {filters: 8, kernel: 3, padding: 1}, batchnorm]
                shortcut:
                  - conv2d: {filters: 8, kernel: 1}
                activation: tanh
            - GlobalPool: max
            - dropout: 0.25
            - sequential: [dense: 5, activation: elu]
            - reshape: [1, -1]
            - flatten
            - dense: {units: outputs}
            """
        )
        assert [(row.name, row.output_shape) for row in built.rows()] == [
            ("conv2d_1", (4, 6, 6)),
            ("maxpool2d_1", (4, 3, 3)),
            ("residual_1", (8, 3, 3)),
            ("globalpool_1", (8,)),
            ("dropout_1", (8,)),
            ("sequential_1", (5,)),
            ("reshape_1", (1, 5)),
            ("flatten_1", (5,)),
            ("dense_1", (3,)),
        ]
        assert {name: values.shape for name, values in built.weights().items()} == {
            "conv2d_1.W": (4, 1, 3, 3),
            "conv2d_1.b": (4,),
            "residual_1.conv2d_1.W": (8, 4, 3, 3),
            "residual_1.conv2d_1.b": (8,),
            "residual_1.batchnorm_1.gamma": (8,),
            "residual_1.batchnorm_1.beta": (8,),
            "residual_1.batchnorm_1.mean": (8,),
            "residual_1.batchnorm_1.variance": (8,),
            "residual_1.shortcut.conv2d_1.W": (8, 4, 1, 1),
            "residual_1.shortcut.conv2d_1.b": (8,),
            "sequential_1.dense_1.W": (8, 5),
            "sequential_1.dense_1.b": (5,),
            "dense_1.W": (5, 3),
            "dense_1.b": (3,),
        }
        assert built.rows()[2].parameters == 8 * 4 * 9 + 8 + 4 * 8 + 8 * 4 + 8

    def test_of_ones_own_stand_there_by_their_path(self) -> None:
        built = network(
            f"- {__name__}.Scaled: {{by: 2, inner: [flatten, {{dense: 4}}]}}\n- dense: {{units: outputs}}"
        )
        assert [row.name for row in built.rows()] == ["scaled_1", "dense_1"]
        assert "scaled_1.dense_1.W" in built.weights()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "[flatten, dens: 3]",
                r"layer 2 \(model.layers\[1\]\): dens is not a layer: did you mean dense?",
            ),
            (
                "[dense: {unit: 3}]",
                r"model.layers\[0\].dense.unit is not an argument of Dense: did you mean units?",
            ),
            (
                "[conv2d: {filters: 3}]",
                r"model.layers\[0\].conv2d.kernel is missing: Conv2D needs it; add it, a whole number",
            ),
            ("[dense: {units: many}]", r"model.layers\[0\].dense.units=many is not a number"),
            ("[dense: {units: 2, bias: 3}]", r"layer 1: model.layers\[0\].dense.bias=3 has the wrong type"),
            (
                "[dense: vocabulary]",
                r"layer 1: model.layers\[0\].dense.units=vocabulary: the data has no tokens",
            ),
            ("[dropout: {rate: 1}]", r"model.layers\[0\].dropout.rate=1 is out of range"),
            ("[dense: 0]", r"layer 1: model.layers\[0\].dense: units=0: give a whole number"),
            ("[flatten: 3]", r"model.layers\[0\].flatten=3: it takes no argument"),
            ("[3]", r"layer 1 \(model.layers\[0\]\): 3 is no layer"),
            ("[{flatten: , dense: 3}]", "is no layer"),
            ("{dense: 3}", "is no list: give layers"),
            (
                "[flatten, residual: {layers: [flatten, flaten]}]",
                r"layer 2.2 \(model.layers\[1\].residual.layers\[1\]\): flaten is not a layer",
            ),
            (
                "[residual: {layers: [flatten], shortcut: [dens: 3]}]",
                r"layer 1.shortcut.1 \(model.layers\[0\].residual.shortcut\[0\]\)",
            ),
            ("[no_such_module.Layer: 3]", "there is no module no_such_module"),
            (f"[{__name__}.no_layer]", "no_layer made int, which is no layer"),
            ("[]", "no layers; give it at least one"),
        ],
    )
    def test_that_cannot_be_are_named_by_their_place(self, text: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            network(text)


Values = NDArray[Any]


def weights(*shape: int, name: str | None, dtype: str = "float32") -> Any:
    return theano.shared(np.full(shape, 0.5, dtype), name)


def from_function(function: Callable[..., Any], input_shape: Shape = (4,), **arguments: Any) -> Network:
    component = Component(function, arguments, "model")
    return Network(layers_of(component, input_shape, 3, seed=5), input_shape)


def affine(inputs: Any, outputs: int, scale: float = 1.0) -> Any:
    return tensor.dot(inputs, weights(4, outputs, name="W")) * np.float32(scale) + weights(outputs, name="b")


class TestFunctionsOfInputs:
    def test_are_networks_with_the_shared_variables_that_they_made(self) -> None:
        built = from_function(affine, scale=2.0)
        assert [parameter.name for parameter in built.parameters] == ["W", "b"]
        assert built.output_shape == (3,)
        assert [tuple(row) for row in built.rows()] == [("affine_1", (3,), 15)]
        x = built.input_variable()
        inputs = np.arange(8, dtype=np.float32).reshape(2, 4)
        for training in (True, False):
            output = theano.function([x], built.output(x, training), mode=PYTHON)(inputs)
            assert np.allclose(output, inputs.sum(axis=1, keepdims=True) * np.ones(3) + 0.5)
        slope = theano.function(
            [x], theano.grad(built.output(x, True).sum(), built.parameters[0]), mode=PYTHON
        )(inputs)
        assert np.allclose(slope, 2 * inputs.sum(axis=0)[:, None] * np.ones(3))

    def test_know_training_from_evaluation_and_share_what_has_one_name(self) -> None:
        def net(inputs: Any, outputs: int, training: bool) -> Any:
            hidden = inputs * np.float32(10) if training else inputs + weights(name="only_here")
            return tensor.dot(hidden, weights(4, outputs, name="W"))

        built = from_function(net)
        assert [variable.name for variable in built.parameters] == ["W"]
        assert [variable.name for variable in built.buffers] == ["only_here"]
        built.load_weights({"W": np.ones((4, 3)), "only_here": np.array(2)})
        x = built.input_variable()
        outputs = [built.output(x, True), built.output(x, False)]
        trained, evaluated = theano.function([x], outputs, mode=PYTHON)(np.ones((1, 4), np.float32))
        assert np.array_equal(trained, [[40] * 3])
        assert np.array_equal(evaluated, [[12] * 3])

    def test_keep_their_random_streams_going(self) -> None:
        def noisy(inputs: Any, seed: int) -> Any:
            return inputs + MRG_RandomStreams(seed).normal(inputs.shape, dtype="float32") * weights(name="s")

        built, same = from_function(noisy), from_function(noisy)
        steps = []
        for one in (built, same):
            x = one.input_variable()
            output = one.output(x, training=True)
            steps.append(theano.function([x], output, updates=list(one.updates(True).items()), mode=PYTHON))
        zeros = np.zeros((5, 4), np.float32)
        first = steps[0](zeros)
        assert np.array_equal(first, steps[1](zeros))
        assert not np.array_equal(first, steps[0](zeros))
        assert len(built.random_states) == 1

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda inputs: inputs * weights(4, name=None), r"shape \(4,\) without a name"),
            (lambda inputs: inputs * weights(4, name="a") + weights(4, name="a"), "two shared .* called a"),
            (lambda inputs: inputs * weights(4, name="a", dtype="float64"), "has a in float64, .* float32"),
            (lambda inputs: weights(4, name="a") * 1, "no symbolic output that is made of `inputs`"),
            (lambda inputs: None, "no symbolic output"),
            (lambda inputs: (inputs * weights(4, name="a")).sum(axis=0), r"the shape \(4,\) for 2 examples"),
        ],
    )
    def test_that_cannot_be_trained_are_refused(self, function: Callable[..., Any], message: str) -> None:
        with pytest.raises(UsageError, match=f"model: <lambda> .*{message}"):
            from_function(function)


class TestFunctionsOfLayers:
    def test_get_the_arguments_that_they_have(self) -> None:
        def net(outputs: int, units: int, seed: int) -> list[Layer]:
            assert seed == 5
            return [Dense(units), Dense(outputs)]

        assert from_function(net, units=7).rows()[0].output_shape == (7,)
        assert from_function(lambda **given: Dense(given["outputs"])).output_shape == (3,)

    def test_that_return_something_else_are_refused(self) -> None:
        with pytest.raises(
            UsageError, match="model: <lambda> returned int: return a list of layers, or take"
        ):
            from_function(lambda: 3)


class TestCnn:
    def test_is_two_convolutions_with_pooling_and_a_dense_layer(self) -> None:
        built = Network(cnn((1, 28, 28), 10), (1, 28, 28))
        assert [(row.name, row.output_shape) for row in built.rows() if row.parameters] == [
            ("conv2d_1", (32, 24, 24)),
            ("conv2d_2", (32, 8, 8)),
            ("dense_1", (256,)),
            ("dense_2", (10,)),
        ]
        assert sum(row.parameters for row in built.rows()) == 832 + 25632 + 131328 + 2570
        assert [layer.rate for layer in built.layers if isinstance(layer, Dropout)] == [0.5]

    def test_pools_before_each_activation(self) -> None:
        described = cnn((1, 28, 28), 10, filters=[8], activation="elu", pool=3, hidden=[4], dropout=0)
        assert [layer.kind for layer in described] == [
            *("conv2d", "maxpool2d", "activation", "flatten", "dense", "dense")
        ]
        assert isinstance(described[2], Activation)
        assert described[2].name == "elu"

    def test_takes_images_without_channels_and_other_sizes(self) -> None:
        options: dict[str, Any] = {"filters": 4, "kernel": 3, "padding": "same", "hidden": [], "pool": 1}
        assert Network(cnn((8, 8), 10, **options), (8, 8)).output_shape == (10,)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"filters": [8, 0]}, r"model.filters\[1\]=0: give a whole number"),
            ({"hidden": 0}, r"model.hidden\[0\]=0"),
            ({"activation": "rellu"}, "model.activation=rellu"),
            ({"initialization": "he"}, "model.initialization=he "),
            ({"dropout": 1}, "model.dropout=1"),
            ({"pool": 0}, "model.pool=0"),
        ],
    )
    def test_refuses_options_by_their_key(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            cnn((1, 28, 28), 10, **options)

    def test_refuses_what_is_no_image(self) -> None:
        with pytest.raises(UsageError, match=r"model=cnn takes images .* shape \(13,\): choose model=mlp"):
            cnn((13,), 3)


class TestResnet:
    def test_halves_the_image_from_stage_to_stage(self) -> None:
        built = Network(resnet((3, 32, 32), 10), (3, 32, 32))
        shapes = [row.output_shape for row in built.rows() if row.name.startswith("residual")]
        assert shapes == [(16, 32, 32)] * 2 + [(32, 16, 16)] * 2 + [(64, 8, 8)] * 2
        convolutions = [name for name in built.weights() if "conv2d" in name and "shortcut" not in name]
        assert len(convolutions) + 1 == 14
        assert built.output_shape == (10,)

    def test_begins_the_shortcut_anew_where_the_shape_changes(self) -> None:
        weights = Network(resnet((28, 28), 10, filters=[4, 4, 6], blocks=1), (28, 28)).weights()
        projections = {name: values.shape for name, values in weights.items() if "shortcut.conv2d" in name}
        assert projections == {
            "residual_2.shortcut.conv2d_1.W": (4, 4, 1, 1),
            "residual_3.shortcut.conv2d_1.W": (6, 4, 1, 1),
        }


class TestAutoencoder:
    def test_mirrors_its_sizes_around_the_code(self) -> None:
        described = autoencoder((1, 4, 4), 16, hidden=[8, 6], code=2, activation="tanh")
        assert isinstance(described[0], Flatten)
        assert [(layer.units, layer.activation) for layer in described if isinstance(layer, Dense)] == [
            (8, "tanh"),
            (6, "tanh"),
            (2, "linear"),
            (6, "tanh"),
            (8, "tanh"),
            (16, "sigmoid"),
        ]

    def test_wants_the_objective_that_gives_the_input_back(self) -> None:
        with pytest.raises(UsageError, match=r"gives back the 16 values .* choose objective=reconstruction"):
            autoencoder((1, 4, 4), 10)


def test_the_yaml_file_of_layers_is_a_network() -> None:
    node = yaml.safe_load((Path(__file__).parents[1] / "conf" / "model" / "layers.yaml").read_text())
    assert node.pop("_target_") == "trainer.models.layers"
    assert Network(layers((1, 8, 8), 10, **node), (1, 8, 8)).output_shape == (10,)
