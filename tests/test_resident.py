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
    ("wanted", "on_cpu", "augmented", "resident", "reason"),
    [
        ("auto", True, False, False, "on a CPU"),
        ("auto", False, False, True, "stays on the device, 0.0 MiB"),
        ("auto", False, True, False, "is augmented"),
        ("arrays", False, False, False, "training.feeding=arrays"),
        ("resident", True, False, True, "training.feeding=resident"),
    ],
)
def test_the_choice_and_its_reason(
    wanted: str, on_cpu: bool, augmented: bool, resident: bool, reason: str
) -> None:
    choice, said = choose_feeding(wanted, PART, 4, on_cpu=on_cpu, augmented=augmented)
    assert choice is resident
    assert reason in said


def test_an_opencl_device_is_handed_arrays() -> None:
    choice, said = choose_feeding("auto", PART, 4, on_cpu=False, augmented=False, on_opencl=True)
    assert (choice, "OpenCL" in said) == (False, True)


def test_a_part_larger_than_the_room_is_handed_over() -> None:
    large = Part(np.broadcast_to(np.float32(0), (300, 2**20)), np.zeros(300))
    assert choose_feeding("auto", large, 4, on_cpu=False, augmented=False)[0] is False
    assert choose_feeding("resident", large, 4, on_cpu=False, augmented=False)[0] is True


def test_what_cannot_stay_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", PART.inputs)
    stored: Any = StoredArray(tmp_path / "a.npy")
    with pytest.raises(UsageError, match=r"training\.feeding=resident .* read from a file"):
        choose_feeding("resident", Part(stored, PART.targets), 4, on_cpu=True, augmented=False)
    with pytest.raises(UsageError, match=r"training\.feeding=resident .* augmented"):
        choose_feeding("resident", PART, 4, on_cpu=True, augmented=True)
