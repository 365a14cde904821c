"""Losses and metrics against SciPy in float64, and what an objective refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import theano
from scipy.special import log_softmax, softmax
from theano import tensor

from trainer.data import Data, Part
from trainer.errors import UsageError
from trainer.objectives import cross_entropy

Judged = Callable[[Any, Any], list[Any]]


@pytest.fixture(scope="module", params=["float32", "float64"])
def judge(request: pytest.FixtureRequest) -> Judged:
    """Compile losses, the gradient of their sum, and accuracy, from logits of a dtype and classes."""
    objective = cross_entropy()
    logits, targets = tensor.matrix(dtype=request.param), objective.target_variable()
    losses = objective.losses(logits, targets)
    metrics = objective.metrics(logits, targets)
    assert list(metrics) == ["accuracy"]
    slope = theano.grad(tensor.sum(losses), logits)
    function = theano.function([logits, targets], [losses, slope, metrics["accuracy"]])
    return lambda values, classes: function(np.asarray(values, request.param), np.asarray(classes, np.int32))


def test_the_loss_is_the_negative_log_likelihood(judge: Judged) -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(0, 5, (40, 7)).astype(np.float32), generator.integers(7, size=40)
    losses, slopes, accuracy = judge(logits, targets)
    wanted = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(40), targets]
    tolerance = 1e-5 if losses.dtype == np.float32 else 1e-12
    assert np.allclose(losses, wanted, rtol=tolerance, atol=tolerance)
    assert np.allclose(
        slopes, softmax(logits.astype(np.float64), axis=1) - np.eye(7)[targets], atol=tolerance
    )
    assert np.array_equal(accuracy, logits.argmax(axis=1) == targets)


def test_dtypes_are_those_of_the_logits(judge: Judged) -> None:
    results = judge(np.zeros((2, 3)), [0, 1])
    assert len({result.dtype for result in results}) == 1
    assert judge(np.full((2, 3), 1 / 3), [0, 1])[0].dtype == results[0].dtype


def test_huge_logits_give_finite_losses_and_gradients(judge: Judged) -> None:
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]])
    losses, slopes, _ = judge(logits, [1, 1, 0, 2])
    assert np.allclose(losses, [2e4, np.log(2), np.log(3), np.log(3)], rtol=1e-6)
    thirds = [[-2 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, -2 / 3]]
    assert np.allclose(slopes, np.array([[1.0, -1, 0], [0, -0.5, 0.5], *thirds]))


def test_of_equal_logits_the_first_counts_as_the_answer(judge: Judged) -> None:
    assert judge(np.zeros((2, 3)), [0, 1])[2].tolist() == [1, 0]


def with_targets(targets: Any, classes: int | None) -> Data:
    """Give data whose validation part has the targets."""
    targets = np.asarray(targets)
    fine, part = Part(np.zeros((1, 2)), np.array([0])), Part(np.zeros((len(targets), 2)), targets)
    return Data(fine, part, fine, input_shape=(2,), outputs=3, classes=classes, name="mine")


def test_accepts_classes() -> None:
    cross_entropy().check(with_targets([0, 2, 1], classes=3))


@pytest.mark.parametrize(
    ("targets", "classes", "message"),
    [
        ([0, 1], None, "needs classes as targets, but mine has none"),
        ([0, 1, 3], 3, "mine: target 3 of the validation part is 3; with 3 classes"),
        ([0, -1], 3, "target 2 of the validation part is -1"),
        ([0.5], 3, "validation targets of mine are float64"),
        ([[0, 1]], 3, r"shape \(1, 2\)"),
    ],
)
def test_refuses_targets_that_are_no_classes(targets: Any, classes: int | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cross_entropy().check(with_targets(targets, classes))
