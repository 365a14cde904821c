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
from trainer.layers import Dense, Dropout, Flatten, Layer
from trainer.models import Network

Points = NDArray[Any]

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
        ],
    )
    def test_refuses_arguments_before_it_is_built(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Dense(**arguments)


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
