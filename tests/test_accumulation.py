"""Several batches that make one update: as one large batch, also where it is short or must be given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from theano import tensor

from trainer.data import Part
from trainer.kernels.finite import NonFinite, check_finite
from trainer.layers import BatchNorm, Dense, Dropout, Layer
from trainer.models import Network
from trainer.training import TrainingStep, accumulate, compile_training_step, make_resident
from trainer.updates import adam, sgd

MODE = theano.Mode(linker="py", optimizer="fast_run")
GENERATOR = np.random.default_rng(3)
PART = Part(GENERATOR.normal(size=(300, 6)).astype("f4"), GENERATOR.normal(size=(300, 2)).astype("f4"))
Batch = tuple[NDArray[Any], NDArray[Any]]


@dataclass
class Trained:
    """A network and a step that updates it."""

    network: Network
    step: TrainingStep

    @classmethod
    def by(
        cls,
        rule: Callable[..., Any],
        accumulated: bool,
        layers: Iterable[Layer] = (),
        resident: bool = False,
        penalty: float = 0.01,
    ) -> Trained:
        network = Network([*layers, Dense(5), Dense(2)], (6,), seed=2)
        inputs, targets = network.input_variable(), tensor.matrix("targets")
        loss = tensor.sqr(network.output(inputs, training=True) - targets).mean()
        loss = loss + np.float32(penalty) * tensor.sqr(network.parameters[0]).sum()
        parameters = network.parameters
        gradients = theano.grad(loss, parameters)
        accumulation = accumulate(loss, gradients, parameters, inputs.shape[0]) if accumulated else None
        if accumulation is not None:
            loss, gradients = accumulation.loss, accumulation.gradients
        gradients, norm = check_finite(loss, gradients, [str(each.name) for each in parameters])
        buffers = network.updates(training=True)
        updates = {**rule(gradients, parameters), **buffers}
        options = {"accumulation": accumulation, "buffers": buffers, "mode": MODE}
        if resident:
            step = make_resident(PART, inputs, targets).compile_step(loss, norm, updates, **options)
        else:
            step = compile_training_step(inputs, targets, loss, norm, updates, **options)
        return cls(network, step)

    def train(self, *batches: Batch) -> tuple[float, float]:
        """Make one update of some batches."""
        for batch in batches[:-1]:
            self.step.gather(*batch)
        loss, norm = self.step(*batches[-1])
        return float(loss), float(norm)


def cut(start: int, *sizes: int) -> list[Batch]:
    """Give batches of some sizes, one after the other."""
    ends = start + np.cumsum(sizes)
    return [(PART.inputs[e - n : e], PART.targets[e - n : e]) for e, n in zip(ends, sizes, strict=True)]


@pytest.mark.parametrize(
    "rule",
    [
        lambda gradients, parameters: sgd(gradients, parameters, 0.1),
        # With an epsilon of 1e-8 its first steps would be as large for gradients that are rounding alone.
        lambda gradients, parameters: adam(gradients, parameters, 0.01, epsilon=1e-4),
    ],
    ids=["sgd", "adam"],
)
def test_four_batches_of_32_give_what_one_of_128_gives(rule: Callable[..., Any]) -> None:
    large, small = Trained.by(rule, accumulated=False), Trained.by(rule, accumulated=True)
    for _ in range(5):
        for start, sizes in ((0, (32, 32, 32, 32)), (128, (32, 32, 32, 32)), (256, (32, 12))):
            expected = large.train(*cut(start, sum(sizes)))
            assert small.train(*cut(start, *sizes)) == pytest.approx(expected, rel=1e-5)
    for name, weights in large.network.weights().items():
        np.testing.assert_allclose(small.network.weights()[name], weights, rtol=2e-5, atol=2e-6)


def test_an_update_of_one_batch_ignores_what_was_gathered_before() -> None:
    def rule(gradients: Any, parameters: Any) -> Any:
        return sgd(gradients, parameters, 0.0)

    once = Trained.by(rule, accumulated=True)
    alone = once.train(*cut(64, 44))
    once.train(*cut(0, 32, 32))
    assert once.train(*cut(64, 44)) == alone


def test_an_update_that_is_given_up_leaves_nothing_of_any_of_its_batches() -> None:
    def rule(gradients: Any, parameters: Any) -> Any:
        return adam(gradients, parameters)

    def make() -> Trained:
        return Trained.by(rule, accumulated=True, layers=[BatchNorm(), Dropout(0.5)])

    disturbed, undisturbed = make(), make()
    first, second, third, fourth = cut(0, 8, 8, 8, 8)
    wrong = (np.full_like(first[0], np.nan), first[1])
    for broken in ((second, wrong), (wrong, second), (wrong, wrong, second), (wrong,)):
        with pytest.raises(NonFinite) as caught:
            disturbed.train(*broken)
        assert "dense_1.W" in caught.value.elements
        for batches in ((first, second), (third, fourth, first), (second,)):
            assert disturbed.train(*batches) == undisturbed.train(*batches)
        for name, weights in undisturbed.network.weights().items():
            assert np.array_equal(disturbed.network.weights()[name], weights), name


def test_resident_batches_accumulate_alike() -> None:
    def rule(gradients: Any, parameters: Any) -> Any:
        return sgd(gradients, parameters, 0.1)

    arrays, resident = (
        Trained.by(rule, accumulated=True, resident=False),
        Trained.by(rule, True, resident=True),
    )
    places = np.arange(96, dtype=np.int32)
    given = [(places[:50], places[:50]), (places[50:], places[50:])]
    assert resident.train(*given) == arrays.train(*cut(0, 50, 46))
    for name, weights in arrays.network.weights().items():
        assert np.array_equal(resident.network.weights()[name], weights)


def test_a_step_of_one_batch_gathers_nothing() -> None:
    step = Trained.by(lambda gradients, parameters: sgd(gradients, parameters, 0.1), accumulated=False).step
    with pytest.raises(TypeError, match="updates at each batch"):
        step.gather(*cut(0, 8)[0])
