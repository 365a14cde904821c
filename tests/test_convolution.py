"""Convolution, pooling and batch normalisation against PyTorch's numbers (references/make_convolution.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.configparser import change_flags

from trainer.errors import UsageError
from trainer.layers import AveragePool2D, BatchNorm, Conv2D, Dense, Flatten, GlobalPool, Layer, MaxPool2D
from trainer.models import Network

Numbers = NDArray[Any]

with np.load(Path(__file__).parent / "references" / "convolution.npz") as stored:
    REFERENCE: Mapping[str, Numbers] = dict(stored)
CASES: Mapping[str, Any] = json.loads(str(REFERENCE["cases"]))

# Without C, which takes seconds to compile for each new operation: with Theano's rewritings, and as the graph
# was written.
PYTHON = theano.Mode(linker="py", optimizer="fast_run")
AS_WRITTEN = theano.Mode(linker="py", optimizer=None)


def of_case(case: str) -> dict[str, Numbers]:
    return {
        name.removeprefix(f"{case}/"): values for name, values in REFERENCE.items() if name.startswith(case)
    }


def agrees(got: Numbers, wanted: Numbers) -> bool:
    return got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-5, atol=1e-5)


def gradients(layer: Layer, case: dict[str, Numbers], mode: Any = None) -> dict[str, Numbers]:
    """Return a layer's output and the gradients of sum(y · g), by the names of the table."""
    network = Network([layer], case["x"].shape[1:])
    variables = {variable.name.rpartition(".")[2]: variable for variable in network.parameters}
    for name, variable in variables.items():
        variable.set_value(case[name])
    x = variables["x"] = network.input_variable()
    y = network.output(x, training=True)
    slopes = theano.grad(tensor.sum(y * case["g"]), list(variables.values()))
    results = theano.function(
        [x], [y, *slopes], mode=mode, updates=list(network.updates(training=True).items())
    )(case["x"])
    assert network.output_shape == results[0].shape[1:]
    assert all(result.dtype == np.float32 for result in results)
    return dict(zip(["y", *(f"gradient_of_{name}" for name in variables)], results, strict=True))


class TestConv2D:
    @pytest.mark.parametrize("name", CASES["convolution"])
    def test_agrees_with_pytorch(self, name: str) -> None:
        case = of_case(f"convolution/{name}")
        results = gradients(Conv2D(**CASES["convolution"][name]), case)
        assert len(results) == 3 + CASES["convolution"][name].get("bias", True)
        for key, got in results.items():
            assert agrees(got, case[key]), key

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"filters": 0}, "filters=0: give a whole number of at least 1"),
            ({"kernel": [3]}, r"kernel=\[3\]: give a whole number of at least 1, or a pair of them"),
            ({"kernel": [3, 0]}, r"kernel=\[3, 0\]"),
            ({"stride": 0}, "stride=0"),
            ({"padding": -1}, "padding=-1: give a whole number of at least 0"),
            ({"padding": "sam"}, "padding=sam: .*did you mean same?"),
            ({"groups": 2}, "groups=2 does not divide filters=3"),
            ({"activation": "rellu"}, "activation=rellu .*did you mean relu?"),
            ({"initialization": "he"}, "initialization=he is neither"),
            ({"l1": -0.1}, "l1=-0.1: give a number of at least 0"),
            ({"l2": float("inf")}, "l2=inf"),
        ],
    )
    def test_refuses_arguments_before_it_is_built(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Conv2D(**{"filters": 3, "kernel": 3, **arguments})

    @pytest.mark.parametrize(
        ("layers", "input_shape", "message"),
        [
            (
                [Conv2D(2, 3)],
                (28, 28),
                r"layer 1 \(conv2d_1\) takes images \(channels, rows, columns\), but gets the shape "
                r"\(28, 28\): put reshape: \[1, 28, 28\] before it",
            ),
            ([Flatten(), MaxPool2D()], (1, 4, 4), r"layer 2 \(maxpool2d_1\) takes images .* shape \(16,\)"),
            (
                [Conv2D(2, 5), Conv2D(2, 5)],
                (1, 8, 8),
                r"layer 2 \(conv2d_2\) takes images of at least 5 × 5, but gets the shape \(2, 4, 4\): "
                r".*padding=same",
            ),
            ([Conv2D(2, 3, groups=2)], (3, 8, 8), "takes channels that groups=2 divides"),
            ([MaxPool2D(5)], (1, 4, 4), "takes images of at least 5 × 5"),
            ([GlobalPool()], (4,), r"layer 1 \(globalpool_1\) takes images .* shape \(4,\)"),
        ],
    )
    def test_a_layer_names_its_place_and_both_shapes(
        self, layers: list[Layer], input_shape: tuple[int, ...], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            Network(layers, input_shape)

    def test_applies_its_activation_and_adds_its_penalties(self) -> None:
        network = Network([Conv2D(1, 1, activation="relu", l1=0.5, l2=2)], (2, 1, 3))
        network.load_weights({"conv2d_1.W": np.array([[[[1]], [[-2]]]]), "conv2d_1.b": np.array([1])})
        x = network.input_variable()
        inputs = np.array([[[[5, 0, 1]], [[1, 1, 0]]]], np.float32)
        output, penalty = theano.function([x], [network.output(x, training=False), network.penalty])(inputs)
        assert np.array_equal(output, [[[[4, 0, 2]]]])
        assert penalty == 0.5 * (1 + 2) + 2 * (1 + 4)

    def test_its_weights_begin_with_the_deviation_that_the_kernel_asks_for(self) -> None:
        weights = Network([Conv2D(200, [3, 5], groups=2)], (8, 6, 6)).weights()
        fan_in = 4 * 3 * 5
        assert weights["conv2d_1.W"].shape == (200, 4, 3, 5)
        assert weights["conv2d_1.W"].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)
        assert np.all(weights["conv2d_1.b"] == 0)


class TestPooling:
    @pytest.mark.parametrize("name", CASES["max"])
    @pytest.mark.parametrize(("kind", "layer"), [("max", MaxPool2D), ("average", AveragePool2D)])
    def test_agrees_with_pytorch(self, kind: str, layer: type[Layer], name: str) -> None:
        case = of_case(f"{kind}/{name}")
        # Theano's own pooling has no gradient in Python.
        results = gradients(layer(**CASES[kind][name]), case, PYTHON if name.startswith("apart") else None)
        assert agrees(results["y"], case["y"])
        assert agrees(results["gradient_of_x"], case["gradient_of_x"])

    @pytest.mark.parametrize("layer", [MaxPool2D, AveragePool2D])
    def test_refuses_windows_that_are_none(self, layer: type[Layer]) -> None:
        for arguments in ({"size": 0}, {"size": [2, 2, 2]}, {"stride": 0}, {"size": 2, "padding": 2}):
            with pytest.raises(UsageError, match="give"):
                layer(**arguments)

    def test_what_is_not_a_number_stays_so(self) -> None:
        layer = MaxPool2D(2)
        network = Network([layer], (1, 2, 4))
        x = network.input_variable()
        inputs = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
        inputs[0, 0, 1, 0] = np.nan
        output = theano.function([x], network.output(x, training=True), mode=PYTHON)(inputs)
        assert np.isnan(output[0, 0, 0, 0])
        assert output[0, 0, 0, 1] == 7

    @pytest.mark.parametrize("mode", ["average", "max"])
    def test_over_the_whole_input_keeps_channels_and_features(self, mode: str) -> None:
        draws = np.random.default_rng(3)
        for shape, axes in [((2, 3, 4, 5), (2, 3)), ((2, 6, 3), (1,))]:
            inputs = draws.normal(size=shape).astype(np.float32)
            network = Network([GlobalPool(mode)], shape[1:])
            x = network.input_variable()
            output = theano.function([x], network.output(x, training=False), mode=PYTHON)(inputs)
            wanted = inputs.mean(axis=axes) if mode == "average" else inputs.max(axis=axes)
            assert output.shape[1:] == network.output_shape == (3,)
            assert np.allclose(output, wanted, rtol=1e-5, atol=1e-6)

    def test_over_a_masked_sequence_counts_what_is_seen(self) -> None:
        inputs = np.array([[[1, -5], [3, -7], [99, 99]], [[2, 4], [99, 99], [99, 99]]], np.float32)
        mask = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
        x, seen = tensor.tensor3(dtype="float32"), tensor.matrix(dtype="float32")
        outputs = [GlobalPool(mode).apply(x, False, seen) for mode in ("average", "max")]
        average, largest = theano.function([x, seen], outputs, mode=PYTHON)(inputs, mask)
        assert np.array_equal(average, [[2, -6], [2, 4]])
        assert np.array_equal(largest, [[3, -5], [2, 4]])


class TestBatchNorm:
    @pytest.mark.parametrize("name", ["images", "vectors", "sequences"])
    def test_agrees_with_pytorch(self, name: str) -> None:
        case = of_case(f"normalization/{name}")
        # Its share of the new, 0.2, is 1 minus the share of the old.
        layer = BatchNorm(momentum=0.8, epsilon=1e-3)
        network = Network([layer], case["x"].shape[1:])
        weights = {f"batchnorm_1.{key}": case[key] for key in ("gamma", "beta", "mean", "variance")}
        assert {key: values.shape for key, values in network.weights().items()} == {
            key: values.shape for key, values in weights.items()
        }
        network.load_weights(weights)
        x = network.input_variable()
        evaluated = theano.function([x], network.output(x, training=False), mode=PYTHON)(case["x"])
        assert agrees(evaluated, case["evaluated"])
        y = network.output(x, training=True)
        slopes = theano.grad(tensor.sum(y * case["g"]), [x, *network.parameters])
        updates = list(network.updates(training=True).items())
        step = theano.function([x], [y, *slopes], updates=updates, mode=PYTHON)
        results = step(case["x"])
        keys = ["y", "gradient_of_x", "gradient_of_gamma", "gradient_of_beta"]
        for key, got in zip(keys, results, strict=True):
            assert agrees(got, case[key]), key
            assert got.dtype == np.float32
        assert agrees(network.weights()["batchnorm_1.mean"], case["new_mean"])
        assert agrees(network.weights()["batchnorm_1.variance"], case["new_variance"])

    def test_a_batch_of_one_leaves_finite_statistics(self) -> None:
        network = Network([BatchNorm()], (3,))
        x = network.input_variable()
        output = network.output(x, training=True)
        step = theano.function([x], output, updates=list(network.updates(training=True).items()), mode=PYTHON)
        assert np.all(step(np.ones((1, 3), np.float32)) == 0)
        assert np.allclose(network.weights()["batchnorm_1.mean"], 0.1)
        assert np.allclose(network.weights()["batchnorm_1.variance"], 0.9)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"momentum": 1.0}, "momentum=1.0"),
            ({"epsilon": 0}, "epsilon=0"),
            ({"epsilon": 1e-6}, "at least 1e-05"),
        ],
    )
    def test_refuses_numbers_out_of_range(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            BatchNorm(**arguments)

    def test_its_statistics_are_weights_that_no_gradient_trains(self) -> None:
        network = Network([Dense(3), BatchNorm()], (2,))
        assert [parameter.name for parameter in network.parameters][2:] == [
            "batchnorm_1.gamma",
            "batchnorm_1.beta",
        ]
        assert [buffer.name for buffer in network.buffers] == ["batchnorm_1.mean", "batchnorm_1.variance"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(2, [3, 2], 2, "same", groups=2), (2, 5, 3)),
        (MaxPool2D(2), (2, 5, 4)),
        (AveragePool2D(2), (1, 4, 4)),
        (GlobalPool("average"), (2, 3, 2)),
        (GlobalPool("max"), (2, 3, 2)),
        (BatchNorm(), (2, 3, 2)),
        (BatchNorm(), (3,)),
    ],
    ids=lambda value: value.kind if isinstance(value, Layer) else None,
)
def test_gradients_are_right(layer: Layer, shape: tuple[int, ...]) -> None:
    with change_flags(floatX="float64", compute_test_value="off"):
        network = Network([layer], shape)

        def output(x: Any, *parameters: Any) -> Any:
            replace = dict(zip(network.parameters, parameters, strict=True))
            return theano.clone(network.output(x, training=True), replace=replace)

        generator = np.random.RandomState(4)
        points = [generator.randn(3, *shape)]
        points += [generator.randn(*parameter.get_value().shape) for parameter in network.parameters]
        # Of the convolution, the compiled kernel.
        mode = None if isinstance(layer, Conv2D) else AS_WRITTEN
        theano.gradient.verify_grad(output, points, rng=generator, mode=mode)
