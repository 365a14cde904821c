"""A training part that stays on the device: the same steps as with arrays, and when it is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from theano import tensor

from trainer.data import Part
from trainer.data.stored import StoredArray
from trainer.errors import UsageError
from trainer.kernels.finite import check_finite
from trainer.training.resident import choose_feeding, make_resident
from trainer.training.steps import compile_training_step

FLOAT = theano.config.floatX
GENERATOR = np.random.default_rng(0)
PART = Part(GENERATOR.normal(size=(23, 3)).astype(FLOAT), GENERATOR.integers(0, 3, 23))


def regression() -> tuple[Any, ...]:
    """Build a step of logistic regression and return its weights, inputs, targets, loss, norm and updates."""
    weights = theano.shared(np.zeros((3, 3), FLOAT))
    inputs, targets = tensor.matrix("inputs"), tensor.ivector("targets")
    predictions = tensor.nnet.softmax(tensor.dot(inputs, weights))
    loss = tensor.nnet.categorical_crossentropy(predictions, targets).mean()
    (gradient,), norm = check_finite(loss, [tensor.grad(loss, weights)], ["weights"])
    updates = {weights: weights - np.asarray(0.5, FLOAT) * gradient}
    return weights, inputs, targets, loss, norm, updates


def test_trains_to_the_same_bits_as_arrays() -> None:
    weights, inputs, targets, loss, norm, updates = regression()
    step = compile_training_step(inputs, targets, loss, norm, updates, mode="FAST_COMPILE")
    batches = PART.batches(5, seed=4, dtype=FLOAT)
    results = [[float(x) for x in step(*batch)] for epoch in (1, 2) for batch in batches.epoch(epoch)]
    trained = weights.get_value()

    weights, inputs, targets, loss, norm, updates = regression()
    resident = make_resident(PART, inputs, targets)
    step = resident.compile_step(loss, norm, updates, mode="FAST_COMPILE")
    batches = resident.part.batches(5, seed=4, dtype="int32")
    sizes = [len(places) for places, _ in batches.epoch(1)]
    assert sizes == [5, 5, 5, 5, 3]
    assert [[float(x) for x in step(*batch)] for epoch in (1, 2) for batch in batches.epoch(epoch)] == results
    assert np.array_equal(weights.get_value(), trained)
    assert np.any(trained)


@pytest.mark.parametrize(
    ("wanted", "room", "augmented", "resident", "reason"),
    [
        ("auto", None, False, False, "on a CPU"),
        ("auto", 2**30, False, True, "stays on the device, 0.0 MiB"),
        ("auto", 2**30, True, False, "is augmented"),
        ("arrays", 2**30, False, False, "training.feeding=arrays"),
        ("resident", None, False, True, "training.feeding=resident"),
    ],
)
def test_the_choice_and_its_reason(
    wanted: str, room: int | None, augmented: bool, resident: bool, reason: str
) -> None:
    choice, said = choose_feeding(wanted, PART, 4, room=room, augmented=augmented)
    assert choice is resident
    assert reason in said


def test_a_part_larger_than_a_quarter_of_the_free_memory_is_handed_over() -> None:
    large = Part(np.broadcast_to(np.float32(0), (256, 2**20)), np.zeros(256))
    stays, said = choose_feeding("auto", large, 4, room=2**32 - 1, augmented=False)
    assert (stays, "1,024.0 MiB are more than a quarter of the 4,096.0 MiB" in said) == (False, True)
    assert choose_feeding("auto", large, 4, room=2**32, augmented=False)[0] is True
    assert choose_feeding("resident", large, 4, room=2**30, augmented=False)[0] is True


def test_what_cannot_stay_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PART.inputs)
    stored: Any = StoredArray(tmp_path / "a.npy")
    with pytest.raises(UsageError, match=r"training\.feeding=resident .* read from a file"):
        choose_feeding("resident", Part(stored, PART.targets), 4, room=None, augmented=False)
    with pytest.raises(UsageError, match=r"training\.feeding=resident .* augmented"):
        choose_feeding("resident", PART, 4, room=None, augmented=True)
