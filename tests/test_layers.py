"""Layers against NumPy: what they compute, how their parameters begin, what dropout drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from scipy.special import expit
from theano import tensor
from theano.configparser import change_flags

from trainer.activations import ACTIVATIONS
from trainer.errors import UsageError
from trainer.layers import (
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    Layer,
    Reshape,
    Residual,
    Sequential,
)
from trainer.models import Network

Points = NDArray[Any]

# Without C, which takes seconds to compile for each new operation: with Theano's rewritings, and as the graph
# was written.
PYTHON = theano.Mode(linker="py", optimizer="fast_run")
AS_WRITTEN = theano.Mode(linker="py", optimizer=None)

# Value and slope of each activation, written down from its definition.
DEFINITIONS: dict[str, tuple[Callable[[Points], Points], Callable[[Points], Points]]] = {
    "linear": (lambda x: x, np.ones_like),
    "relu": (lambda x: np.where(x > 0, x, 0), lambda x: np.where(x > 0, 1.0, 0)),
    "leaky_relu": (lambda x: np.where(x > 0, x, x / 100), lambda x: np.where(x > 0, 1, 0.01)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x)),
    "softplus": (lambda x: np.logaddexp(x, 0), expit),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
}


def outputs(network: Network, inputs: Points, training: bool = False) -> Points:
    x = network.input_variable()
    output: Points = theano.function([x], network.output(x, training), mode=PYTHON)(inputs)
    return output


def initial(layer: Layer, inputs: int, seed: int = 0) -> NDArray[Any]:
    return Network([layer], (inputs,), seed).weights()["dense_1.W"]


class TestActivations:
    # FAST_COMPILE leaves out the rewritings by which Theano may rescue an unstable expression.
    @pytest.mark.parametrize("mode", [None, "FAST_COMPILE"])
    def test_values_and_slopes_are_their_definitions_and_stay_finite(self, mode: str | None) -> None:
        points = np.array([-1e4, -50, -3, -1e-3, 0, 1e-3, 1, 20, 1e4], np.float32)
        x, chosen = tensor.vectors("x", "chosen")
        values = [function(x) for function in ACTIVATIONS.values()]
        slopes = [theano.grad(tensor.sum(value), x) for value in values]
        assert {result.dtype for result in values + slopes} == {"float32"}
        # Summed with a 1 for the chosen one, so that all are compiled as one expression.
        sums = [sum(chosen[place] * one for place, one in enumerate(many)) for many in (values, slopes)]
        function = theano.function([x, chosen], sums, mode=mode)
        assert set(ACTIVATIONS) == set(DEFINITIONS)
        for name, one_hot in zip(ACTIVATIONS, np.eye(len(values), dtype=np.float32), strict=True):
            for got, definition in zip(function(points, one_hot), DEFINITIONS[name], strict=True):
                assert np.allclose(got, definition(points.astype(np.float64)), rtol=1e-5, atol=1e-7), name

    def test_what_is_not_a_number_stays_so(self) -> None:
        x = tensor.vector(dtype="float32")
        values = [function(x) for function in ACTIVATIONS.values()]
        results = theano.function([x], values, mode="FAST_COMPILE")(np.array([np.nan], np.float32))
        assert np.isnan(results).all()


class TestDense:
    def test_is_an_affine_map_and_its_activation(self) -> None:
        network = Network([Dense(3, "tanh"), Dense(2)], (4,), seed=1)
        generator = np.random.default_rng(0)
        weights = {
            "dense_1.W": generator.normal(size=(4, 3)),
            "dense_1.b": generator.normal(size=3),
            "dense_2.W": generator.normal(size=(3, 2)),
            "dense_2.b": generator.normal(size=2),
        }
        network.load_weights(weights)
        x = network.input_variable()
        inputs = generator.normal(size=(5, 4)).astype(np.float32)
        output = theano.function([x], network.output(x, training=False))(inputs)
        hidden = np.tanh(inputs @ weights["dense_1.W"] + weights["dense_1.b"])
        assert output.dtype == np.float32
        assert np.allclose(output, hidden @ weights["dense_2.W"] + weights["dense_2.b"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("activation", ["linear", "relu", "elu"])
    def test_its_gradients_are_right(self, activation: str) -> None:
        with change_flags(floatX="float64", compute_test_value="off"):
            network = Network([Flatten(), Dense(3, activation)], (2, 2), seed=2)

            def output(x: Any, *parameters: Any) -> Any:
                replace = dict(zip(network.parameters, parameters, strict=True))
                return theano.clone(network.output(x, training=True), replace=replace)

            generator = np.random.RandomState(4)
            points = [generator.randn(3, 2, 2), *network.weights().values()]
            theano.gradient.verify_grad(output, points, rng=generator, mode="FAST_COMPILE")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"units": 0}, "units=0: give a whole number"),
            ({"units": 2.5}, "units=2.5"),
            ({"units": True}, "units=True"),
            ({"units": 2, "activation": "rellu"}, "activation=rellu .* did you mean relu?"),
            ({"units": 2, "initialization": "he"}, "initialization=he is neither .*he_normal"),
            ({"units": 2, "initialization": float("nan")}, "initialization=nan"),
            ({"units": 2, "l1": -1}, "l1=-1: give a number of at least 0"),
            ({"units": 2, "l2": float("inf")}, "l2=inf"),
        ],
    )
    def test_refuses_arguments_before_it_is_built(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Dense(**arguments)

    def test_treats_each_step_of_a_sequence_alike(self) -> None:
        network = Network([Dense(2, "tanh")], (4, 3))
        generator = np.random.default_rng(1)
        weights = {"dense_1.W": generator.normal(size=(3, 2)), "dense_1.b": generator.normal(size=2)}
        network.load_weights(weights)
        inputs = generator.normal(size=(5, 4, 3)).astype(np.float32)
        output = outputs(network, inputs)
        assert output.shape[1:] == network.output_shape == (4, 2)
        wanted = np.tanh(inputs @ weights["dense_1.W"] + weights["dense_1.b"])
        assert np.allclose(output, wanted, rtol=1e-5, atol=1e-6)

    def test_can_do_without_a_bias(self) -> None:
        network = Network([Dense(2, bias=False)], (3,))
        assert list(network.weights()) == ["dense_1.W"]
        assert np.all(outputs(network, np.zeros((2, 3), np.float32)) == 0)

    def test_its_penalties_count_its_weights_and_not_its_biases(self) -> None:
        inner = Dense(1, l1=0.5, l2=0.25)
        network = Network([Dense(2, l2=3), Residual([inner], [Dense(1)])], (1,))
        weights = {name: np.ones_like(values) for name, values in network.weights().items()}
        weights["dense_1.W"] = np.array([[2, -3]])
        weights["residual_1.dense_1.W"] = np.array([[-4], [1]])
        network.load_weights(weights)
        penalty = theano.function([], network.penalty, mode=PYTHON)()
        assert penalty == 3 * (4 + 9) + 0.5 * (4 + 1) + 0.25 * (16 + 1)
        assert penalty.dtype == np.float32
        assert Network([Dense(2)], (1,)).penalty is None


class TestInitialization:
    # Bound of the uniform ones or None, and standard deviation, for 400 inputs and 300 units.
    @pytest.mark.parametrize(
        ("name", "bound", "deviation"),
        [
            ("glorot_uniform", np.sqrt(6 / 700), np.sqrt(2 / 700)),
            ("glorot_normal", None, np.sqrt(2 / 700)),
            ("he_uniform", np.sqrt(6 / 400), np.sqrt(2 / 400)),
            ("he_normal", None, np.sqrt(2 / 400)),
        ],
    )
    def test_has_the_moments_of_its_formula(self, name: str, bound: float | None, deviation: float) -> None:
        values = initial(Dense(300, initialization=name), 400).astype(np.float64)
        assert values.std() == pytest.approx(deviation, rel=0.01)
        assert abs(values.mean()) < 4 * deviation / np.sqrt(values.size)
        # A normal distribution of this size reaches beyond three deviations, a uniform one only to its bound.
        assert (
            abs(values).max() == pytest.approx(bound, rel=1e-3)
            if bound
            else abs(values).max() > 4 * deviation
        )

    @pytest.mark.parametrize(("value", "number"), [("zeros", 0), (0.25, 0.25), (-1, -1)])
    def test_can_be_a_number(self, value: str | float, number: float) -> None:
        assert np.all(initial(Dense(2, initialization=value), 3) == number)

    @pytest.mark.parametrize("inputs", [3, 8])
    def test_orthogonal_is_a_rotation_as_far_as_there_is_room(self, inputs: int) -> None:
        values = initial(Dense(5, initialization="orthogonal"), inputs).astype(np.float64)
        fewer = values @ values.T if inputs < 5 else values.T @ values
        assert np.allclose(fewer, np.eye(min(inputs, 5)), atol=1e-6)
        stretched = initial(Dense(5, initialization="orthogonal(1.5)"), inputs)
        assert np.allclose(stretched, 1.5 * values, atol=1e-6)

    def test_orthogonal_favours_no_direction(self) -> None:
        first = [initial(Dense(2, initialization="orthogonal"), 2, seed)[0, 0] for seed in range(400)]
        # The cosine of an even angle: mean 0 and variance 1/2.
        assert abs(np.mean(first)) < 4 * np.sqrt(0.5 / 400)
        assert np.var(first) == pytest.approx(0.5, abs=0.1)

    @pytest.mark.parametrize("name", ["orthogonal()", "orthogonal(x)", "orthogonal(inf)", "he_normal(2)"])
    def test_of_a_gain_that_is_none_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match="is neither an initialization"):
            Dense(2, initialization=name)

    def test_is_a_function_of_the_seed(self) -> None:
        assert np.array_equal(initial(Dense(3), 4, seed=1), initial(Dense(3), 4, seed=1))
        assert not np.array_equal(initial(Dense(3), 4, seed=1), initial(Dense(3), 4, seed=2))

    def test_of_a_layer_does_not_depend_on_the_layers_around_it(self) -> None:
        plain = Network([Dense(4), Dense(4)], (4,), seed=3).weights()
        more = Network([Dropout(0.5), Dense(4), Dropout(0.5), Dense(4), Dense(4)], (4,), seed=3).weights()
        assert all(np.array_equal(plain[name], more[name]) for name in plain)
        assert not np.array_equal(more["dense_1.W"], more["dense_2.W"])

    def test_is_the_same_point_in_both_precisions(self) -> None:
        with change_flags(floatX="float64"):
            precise = initial(Dense(3), 4)
        assert precise.dtype == np.float64
        assert np.array_equal(initial(Dense(3), 4), precise.astype(np.float32))

    def test_biases_begin_at_zero(self) -> None:
        assert np.all(Network([Dense(3)], (4,)).weights()["dense_1.b"] == 0)


class Dropping:
    """A dropout layer, compiled for training, with the slope of its output's sum."""

    def __init__(self, rate: float, seed: int, before: int = 0) -> None:
        self.network = Network([Dropout(rate) for _ in range(before + 1)], (200,), seed)
        x = self.network.input_variable()
        output = self.network.layers[-1].apply(x, True)
        self.function = theano.function([x], [output, theano.grad(tensor.sum(output), x)])

    def __call__(self, value: float = 1.0) -> NDArray[Any]:
        output: NDArray[Any] = self.function(np.full((500, 200), value, np.float32))[0]
        return output


@pytest.fixture(scope="module")
def dropping() -> Dropping:
    return Dropping(0.3, seed=1)


class TestDropout:
    def test_drops_its_share_and_scales_the_rest(self, dropping: Dropping) -> None:
        output = dropping(2)
        assert output.dtype == np.float32
        kept = output != 0
        assert np.allclose(output[kept], 2 / 0.7, rtol=1e-6)
        # Bounds are four standard deviations of the mean of as many independent draws.
        assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / kept.size)
        assert abs(kept.mean(axis=0) - 0.7).max() < 5 * np.sqrt(0.21 / len(kept))

    def test_neighbours_are_dropped_independently(self, dropping: Dropping) -> None:
        first, second = dropping() != 0, dropping() != 0
        bound = 4 / np.sqrt(first.size)
        pairs = [(first, second), (first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
        assert all(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < bound for a, b in pairs)

    def test_the_gradient_passes_through_what_was_kept(self, dropping: Dropping) -> None:
        output, slope = dropping.function(np.ones((500, 200), np.float32))
        assert np.array_equal(output, slope)

    def test_the_mask_is_new_each_step_and_a_function_of_seed_and_place(self) -> None:
        one, same, other_seed = Dropping(0.3, seed=1), Dropping(0.3, seed=1), Dropping(0.3, seed=2)
        second_layer = Dropping(0.3, seed=1, before=1)
        first = one()
        assert np.array_equal(first, same())
        assert not np.array_equal(first, one())
        assert np.array_equal(one(), [same(), same()][-1])
        assert not np.array_equal(first, other_seed())
        assert not np.array_equal(first, second_layer())

    def test_its_stream_goes_on_where_it_stood(self, dropping: Dropping) -> None:
        (state,) = dropping.network.random_states
        assert state.name == "dropout_1.random_1"
        stood = state.get_value()
        after = dropping()
        state.set_value(stood)
        assert np.array_equal(dropping(), after)

    def test_adds_nothing_in_evaluation_nor_at_rate_zero(self) -> None:
        x = tensor.matrix()
        assert Network([Dropout(0.5)], (3,)).output(x, training=False) is x
        assert Network([Dropout(0)], (3,)).output(x, training=True) is x

    @pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), "0.5", True])
    def test_refuses_a_rate_that_is_none(self, rate: Any) -> None:
        with pytest.raises(UsageError, match=f"rate={rate}: give a number of at least 0 and below 1"):
            Dropout(rate)


def test_flatten_keeps_the_order_of_c() -> None:
    network = Network([Flatten()], (2, 3))
    x = network.input_variable()
    inputs = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    output = theano.function([x], network.output(x, training=True), mode="FAST_COMPILE")(inputs)
    assert network.output_shape == (6,)
    assert np.array_equal(output, inputs.reshape(4, 6))


def test_reshape_keeps_the_order_of_c() -> None:
    network = Network([Reshape([3, -1, 2])], (2, 6))
    inputs = np.arange(24, dtype=np.float32).reshape(2, 2, 6)
    assert network.output_shape == (3, 2, 2)
    assert np.array_equal(outputs(network, inputs), inputs.reshape(2, 3, 2, 2))


@pytest.mark.parametrize("shape", [[], [-1, -1], [0, 2], [2.5], 3.5, [True]])
def test_reshape_refuses_what_is_no_shape(shape: Any) -> None:
    with pytest.raises(UsageError, match=r"shape=.*: give a list of whole numbers"):
        Reshape(shape)


def test_an_activation_can_be_a_layer() -> None:
    inputs = np.array([[-1, 2]], np.float32)
    assert np.array_equal(outputs(Network([Activation("relu")], (2,)), inputs), [[0, 2]])
    with pytest.raises(UsageError, match=r"name=rellu is not an activation: did you mean relu?"):
        Activation("rellu")


class Halving(Layer):
    """A sequence layer that shows which mask it got, and passes on another one."""

    uses_mask = True

    def apply(self, x: Any, training: bool, mask: Any = None) -> Any:
        return x * mask.dimshuffle(0, 1, "x")

    def output_mask(self, x: Any, mask: Any) -> Any:
        return mask / np.float32(2)


class TestContainers:
    def test_a_residual_adds_both_ways(self) -> None:
        network = Network([Residual([Dense(3, "tanh")], [Dense(3)], "relu"), Residual([Dense(3)])], (2,))
        weights = {name: values + 0.1 for name, values in network.weights().items()}
        network.load_weights(weights)
        inputs = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)

        def dense(x: Points, name: str) -> Points:
            product: Points = x @ weights[f"{name}.W"] + weights[f"{name}.b"]
            return product

        hidden = np.tanh(dense(inputs, "residual_1.dense_1"))
        hidden = np.maximum(hidden + dense(inputs, "residual_1.shortcut.dense_1"), 0)
        wanted = hidden + dense(hidden, "residual_2.dense_1")
        assert np.allclose(outputs(network, inputs), wanted, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("wrap", [Sequential, Residual])
    def test_hand_masks_through(self, wrap: type[Layer]) -> None:
        inside = wrap([Halving(), Halving()])  # type: ignore[call-arg]
        network = Network([inside], (2, 1))
        x, mask = network.input_variable(), tensor.matrix(dtype="float32")
        output = inside.apply(x, False, mask)  # type: ignore[call-arg]
        function = theano.function([x, mask], [output, inside.output_mask(x, mask)], mode=PYTHON)
        got, after = function(np.full((1, 2, 1), 8, np.float32), np.array([[1, 0]], np.float32))
        assert np.array_equal(got.ravel(), [4, 0] if wrap is Sequential else [12, 8])
        assert np.array_equal(after, [[0.25, 0]])

    def test_their_layers_drop_and_move_their_statistics_in_training_alone(self) -> None:
        network = Network([Residual([Sequential([Dropout(0.5), BatchNorm()])])], (3,))
        x = network.input_variable()
        network.output(x, training=False)
        assert network.updates(training=False) == {}
        output = network.output(x, training=True)
        updates = network.updates(training=True)
        assert {variable.name for variable in updates} == {
            f"residual_1.sequential_1.batchnorm_1.{name}" for name in ("mean", "variance")
        }
        step = theano.function([x], output, updates=list(updates.items()), mode=PYTHON)
        step(np.ones((9, 3), np.float32))
        assert np.all(network.weights()["residual_1.sequential_1.batchnorm_1.mean"] != 0)
        assert len(network.random_states) == 1

    @pytest.mark.parametrize(
        "layer",
        [
            Residual([Dense(3, "tanh")], [Dense(3)], "sigmoid"),
            Sequential([Dense(3), Reshape([-1]), Dense(2)]),
            Sequential([Reshape([2, 1]), Dense(3, "elu"), Activation("softplus"), Flatten()]),
        ],
        ids=["residual", "sequential", "sequence"],
    )
    def test_their_gradients_are_right(self, layer: Layer) -> None:
        with change_flags(floatX="float64", compute_test_value="off"):
            network = Network([layer], (2,))

            def output(x: Any, *parameters: Any) -> Any:
                replace = dict(zip(network.parameters, parameters, strict=True))
                return theano.clone(network.output(x, training=True), replace=replace)

            generator = np.random.RandomState(4)
            points = [generator.randn(3, 2), *network.weights().values()]
            theano.gradient.verify_grad(output, points, rng=generator, mode=AS_WRITTEN)
