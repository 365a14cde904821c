"""Steps that are not finite, as a run meets them: the run ends, leaves them out, or goes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import Finished

Train = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("uncompiled")

# Batches whose places are in a file are spoilt, once or always: [[epoch, number of the batch from 1], ...].
SPOILT_DIGITS = """
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from trainer.data import Part, digits


class Spoilt(Part):
    def batches(self, batch_size, **options):
        return Batches(super().batches(batch_size, **options))


class Batches:
    def __init__(self, sound):
        self.sound = sound

    def __len__(self):
        return len(self.sound)

    def describe(self):
        return "spoilt"

    def epoch(self, number, start=0):
        for place, (inputs, targets) in enumerate(self.sound.epoch(number, start), start + 1):
            for name in ("once", "always"):
                places = json.loads(Path(name).read_text()) if Path(name).exists() else []
                if [number, place] in places:
                    inputs = np.full_like(inputs, np.nan)
                    if name == "once":
                        Path(name).write_text(json.dumps([at for at in places if at != [number, place]]))
            yield inputs, targets


def spoilt():
    data = digits()
    return replace(data, train=Spoilt(data.train.inputs, data.train.targets))
"""

# Three epochs of four updates, by a source of the user's own.
SOUND = (
    "model.hidden=[4]",
    "training.epochs=3",
    "training.steps_per_epoch=4",
    "logger.curves=null",
    "logger.pictures=null",
)
SPOILT = (*SOUND, "data._target_=spoilt_digits.spoilt")


@pytest.fixture(autouse=True)
def _source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spoilt_digits.py").write_text(SPOILT_DIGITS)
    monkeypatch.syspath_prepend(tmp_path)


def steps(finished: Finished) -> list[int]:
    """Return the steps of metrics.jsonl."""
    return [record["step"] for record in finished.records]


def state(folder: Path, step: int) -> dict[str, Any]:
    """Return the tensors of the state after a step."""
    return load_file(folder / "checkpoints" / f"step-{step:09d}" / "tensors.safetensors")


def test_a_run_ends_at_the_first_bad_step_and_goes_on_from_the_state_before_it(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "once").write_text("[[2, 3]]")
    ended = train(*SPOILT, "training.checkpoints.keep=9")
    assert ended.status == 1
    message = ended.err.strip()
    for words in (
        "the loss became nan",
        "dense_1.W (256 elements)",
        "at step 7 ",
        "learning_rate=0.002",
        "beta1=0.9",
    ):
        assert words in message
    assert "lower optimizer.learning_rate" in message
    assert (ended.summary["status"], ended.summary["steps"]) == ("diverged", 6)
    assert "the state before step 7 is saved: trainer resume=run goes on from it" in ended.out
    # It is that of a run that never met the step.
    saved = ("training.checkpoints.every_epochs=null", "training.checkpoints.every_steps=6")
    sound = train(*SOUND, *saved, "training.checkpoints.keep=9", folder="sound")
    left, expected = state(ended.folder, 6), state(sound.folder, 6)
    assert left.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(left[name], array, err_msg=name)
    resumed = train("resume=run", "optimizer.learning_rate=0.0005", "allowed_targets=[spoilt_digits]")
    assert (resumed.status, resumed.summary["status"]) == (0, "completed")
    assert steps(resumed) == [4, 8, 12]
    rates = [record["hyperparameter/learning_rate"] for record in resumed.records]
    assert rates == pytest.approx([0.002, 0.0005, 0.0005])


def test_steps_that_are_skipped_are_counted(train: Train, tmp_path: Path) -> None:
    (tmp_path / "always").write_text("[[2, 1], [2, 2], [3, 4]]")
    finished = train(*SPOILT, "training.non_finite=skip")
    assert finished.status == 0, finished.err
    assert [record["train/skipped_steps"] for record in finished.records] == [0, 2, 1]
    assert steps(finished) == [4, 8, 12]
    assert all(np.isfinite(record["train/loss"]) for record in finished.records)
    assert finished.out.count("warning: skipped a step: ") == 2  # two in a row are told of once
    assert "at step 5 " in finished.out
    assert "at step 12 " in finished.out


def test_steps_that_are_skipped_leave_weights_and_states_as_they_are(train: Train, tmp_path: Path) -> None:
    (tmp_path / "always").write_text("[[2, 1], [2, 2], [2, 3], [2, 4]]")
    finished = train(*SPOILT, "training.non_finite=skip", "training.epochs=2")
    sound = train(*SOUND, "training.epochs=1", folder="sound")
    assert finished.status == 0, finished.err
    left, expected = state(finished.folder, 8), state(sound.folder, 4)
    assert left.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(left[name], array, err_msg=name)
    assert [record["validation/loss"] for record in finished.records] == 2 * [
        sound.records[0]["validation/loss"]
    ]
    assert finished.records[1]["train/loss"] is None


@pytest.mark.parametrize(
    ("limit", "told"), [(1, "after a step that was skipped"), (2, "after 2 steps in a row")]
)
def test_too_many_skipped_steps_in_a_row_end_the_run(
    train: Train, tmp_path: Path, limit: int, told: str
) -> None:
    (tmp_path / "always").write_text("[[1, 2], [2, 1], [2, 2], [2, 3]]")
    finished = train(*SPOILT, "training.non_finite=skip", f"training.non_finite_limit={limit}")
    assert (finished.status, finished.summary["status"]) == (1, "diverged")
    assert finished.summary["steps"] == 4 + limit
    assert told in finished.err


def test_each_rollback_goes_back_to_the_last_state_with_a_still_lower_learning_rate(
    train: Train, tmp_path: Path
) -> None:
    # Twice from one state, and once from a later one.
    (tmp_path / "once").write_text("[[2, 1], [2, 2], [3, 3]]")
    finished = train(
        *SPOILT, "training.non_finite=rollback", "training.rollback_scale=0.1", "schedule=linear"
    )
    assert (finished.status, finished.summary["status"]) == (0, "completed"), finished.err
    assert steps(finished) == [4, 8, 12]
    rates = [record["hyperparameter/learning_rate"] for record in finished.records]
    assert rates == pytest.approx([2e-3 * 9 / 12, 2e-5 * 5 / 12, 2e-6 * 1 / 12], rel=1e-5)
    assert finished.out.count("warning: went back to the last checkpoint: ") == 3


def test_a_rollback_of_the_first_epoch_goes_back_to_the_beginning(train: Train, tmp_path: Path) -> None:
    (tmp_path / "once").write_text("[[1, 2]]")
    finished = train(*SPOILT, "training.non_finite=rollback")
    sound = train(*SOUND, "optimizer.learning_rate=0.001", folder="sound")
    assert finished.status == 0, finished.err
    for one, other in zip(finished.records, sound.records, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize(("limit", "told"), [(1, "after a return to a checkpoint"), (3, "after 3 returns")])
def test_too_many_rollbacks_end_the_run(train: Train, tmp_path: Path, limit: int, told: str) -> None:
    (tmp_path / "always").write_text("[[2, 1]]")
    finished = train(*SPOILT, "training.non_finite=rollback", f"training.non_finite_limit={limit}")
    assert (finished.status, finished.summary["status"]) == (1, "diverged")
    assert told in finished.err
    assert f"learning_rate={0.002 * 0.5**limit:g}" in finished.err
    assert steps(finished) == [4]


def test_an_objective_of_ones_own_may_be_what_is_not_finite(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loss itself stays finite; the square root's slope at 0 does not.
    (tmp_path / "rooted.py").write_text(
        "from theano import tensor\n"
        "from trainer import objectives\n\n"
        "def rooted():\n"
        "    objective = objectives.squared_error()\n"
        "    plain = objective.training_losses\n"
        "    def losses(output, targets):\n"
        "        return plain(output, targets) + tensor.sqrt(tensor.abs_(output * 0)).sum(axis=1)\n"
        "    objective.training_losses = losses\n"
        "    return objective\n"
    )
    finished = train(
        *SOUND[1:], "model=mlp", "model.hidden=[4]", "data=diabetes", "objective._target_=rooted.rooted"
    )
    assert finished.status == 1, finished.out + finished.err
    assert "its gradients became infinite or undefined" in finished.err
    assert "at step 1 " in finished.err
