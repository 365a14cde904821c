"""What happens to gradients before a rule sees them: noise, centralization, sharpness-aware gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import theano
from scipy import stats
from theano import tensor

from trainer import updates
from trainer.kernels.random import RandomMasks
from trainer.optimizer import noise as by_counting

PYTHON = theano.Mode(linker="py")


def shared(value: Any, name: str) -> Any:
    return theano.shared(np.asarray(value, dtype="float32"), name=name)


# With Theano's generator, as where the rules are used alone, and as a run has it.
both = pytest.mark.parametrize("module", [updates, by_counting], ids=["alone", "run"])


def noise_of(
    module: Any, steps: int, seed: int = 3, restored: Any = None, **arguments: Any
) -> tuple[Any, Any]:
    """Return the noise of some steps in two tensors, and the states' values after each step."""
    parameters = [shared(np.zeros((120, 51)), "dense_1.W"), shared(np.zeros(3), "dense_1.b")]
    noisy, states = module.gradient_noise(
        [parameter * 0 for parameter in parameters], parameters, seed=seed, **arguments
    )
    assert [gradient.dtype for gradient in noisy] == ["float32", "float32"]
    function = theano.function([], noisy, updates=states, mode=PYTHON)
    for state, value in zip(states, restored or (), strict=False):
        state.set_value(value)
    noise, values = [], []
    for _ in range(steps):
        noise.append(function())
        values.append([state.get_value() for state in states])
    return noise, ({state.name for state in states}, values)


@both
def test_noise_is_normal_with_the_papers_variance_at_each_step(module: Any) -> None:
    noise, _ = noise_of(module, 4, eta=0.3, gamma=0.55)
    for step, (of_weights, of_bias) in enumerate(noise):
        expected = np.sqrt(0.3 / (1 + step) ** 0.55)
        assert of_weights.shape == (120, 51)
        assert of_bias.shape == (3,)
        assert stats.kstest(of_weights.ravel() / expected, "norm").pvalue > 0.01
        np.testing.assert_allclose(of_weights.std(), expected, rtol=0.03)
    together = np.array([weights.ravel() for weights, _ in noise])
    assert np.abs(np.corrcoef(together) - np.eye(4)).max() < 0.05


@both
def test_noise_follows_its_seed_and_goes_on_from_its_states(module: Any) -> None:
    whole, (names, values) = noise_of(module, 4)
    assert names == {"dense_1.W.noise", "dense_1.b.noise", "noise.step"}
    again, _ = noise_of(module, 2, restored=values[1])
    for later, resumed in zip(whole[2:], again, strict=True):
        for one, other in zip(later, resumed, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(whole[0][0], noise_of(module, 1, seed=4)[0][0][0])
    assert not np.array_equal(whole[0][0][0, :3], whole[0][1])


def test_centralized_gradients_have_no_mean_over_what_enters_a_unit() -> None:
    generator = np.random.default_rng(1)
    values = {
        "dense_1.W": generator.normal(size=(4, 3)),
        "conv2d_1.W": generator.normal(size=(2, 3, 5, 5)),
        "embedding_1.W": generator.normal(size=(6, 2)),
        "dense_1.b": generator.normal(size=3),
    }
    parameters = [shared(np.zeros(value.shape), name) for name, value in values.items()]
    gradients = [tensor.constant(value.astype("float32")) for value in values.values()]
    changed = updates.gradient_centralization(gradients, parameters, match=["dense*", "conv*"])
    dense, filters, embedding, bias = theano.function([], changed, mode=PYTHON)()
    expected = values["dense_1.W"] - values["dense_1.W"].mean(axis=0)
    np.testing.assert_allclose(dense, expected, atol=1e-6)
    for number in range(2):
        whole = values["conv2d_1.W"][number]
        np.testing.assert_allclose(filters[number], whole - whole.mean(), atol=1e-6)
    np.testing.assert_array_equal(embedding, values["embedding_1.W"].astype("float32"))
    np.testing.assert_array_equal(bias, values["dense_1.b"].astype("float32"))


@pytest.mark.parametrize("adaptive", [False, True])
def test_sharpness_aware_gradients_are_those_at_the_worst_point(adaptive: bool) -> None:
    generator = np.random.default_rng(2)
    matrix = generator.normal(size=(5, 5))
    matrix = matrix @ matrix.T
    point = generator.normal(size=5)
    # The loss is p'Ap / 2, its gradient Ap, with p in two parameters.
    first, second = shared(point[:3, None], "W"), shared(point[3:], "b")
    whole = tensor.concatenate([first[:, 0], second])
    loss = whole.dot(tensor.constant(matrix.astype("float32"))).dot(whole) / 2
    radius, eta = shared(0.3, "radius"), shared(0.2, "eta")
    gradients = updates.sharpness_aware(loss, [first, second], radius=radius, adaptive=adaptive, eta=eta)
    function = theano.function([], gradients, mode=PYTHON)
    for rho in (0.3, 1.5):
        radius.set_value(np.float32(rho))
        gradient = matrix @ point
        sizes = np.abs(point) + 0.2 if adaptive else np.ones(5)
        worst = point + rho * sizes**2 * gradient / np.linalg.norm(sizes * gradient)
        found = np.concatenate([each.ravel() for each in function()])
        np.testing.assert_allclose(found, matrix @ worst, rtol=1e-4)
    assert [gradient.type for gradient in gradients] == [tensor.fmatrix, tensor.fvector]


def test_both_passes_of_a_sharpness_aware_step_have_the_same_dropout_masks() -> None:
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(8, 4)).astype("float32")
    weights = shared(generator.normal(size=(4, 6)), "W")
    masks = RandomMasks(seed=1, name="dropout_1")
    hidden = tensor.constant(inputs).dot(weights)
    mask = masks.keep(hidden, 0.5)
    loss = tensor.sum((hidden * mask) ** 2)
    gradients = updates.sharpness_aware(loss, [weights], radius=0.5)
    function = theano.function([], [mask, *gradients], mode=PYTHON)
    seen: list[Any] = []
    for _ in range(3):
        kept, found = function()
        value = weights.get_value().astype("float64")

        def gradient_at(point: Any, kept: Any = kept) -> Any:
            return 2 * inputs.T @ (inputs @ point * kept**2)

        here = gradient_at(value)
        expected = gradient_at(value + 0.5 * here / np.linalg.norm(here))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert not any(np.array_equal(kept, other) for other in seen)
        seen.append(kept)


def test_at_a_gradient_of_zero_a_sharpness_aware_step_stays_finite() -> None:
    weights = shared([0.0, 0.0], "W")
    [gradient] = updates.sharpness_aware((weights**2).sum(), [weights])
    np.testing.assert_array_equal(theano.function([], gradient, mode=PYTHON)(), [0.0, 0.0])


def test_a_sharpness_aware_step_needs_the_loss() -> None:
    weights = shared([0.0], "W")
    with pytest.raises(ValueError, match="needs the loss itself"):
        updates.sharpness_aware([weights], [weights])
