"""A run that was stopped and resumed leaves what an unstopped one does, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.left_by import differences, left_by
from tests.resuming import SMALL, Train, assert_goes_on, stopped_at
from tests.soak import RUN

pytestmark = pytest.mark.usefixtures("uncompiled")

GROUPS = (
    '[{match: dense_1.W, freeze: true}, {match: "*.b", learning_rate_scale: 0.1, weight_decay: 0}, '
    "{match: dense_2.W, _target_: rmsprop, schedule: {learning_rate: cosine}}]"
)
WHAT_RUNS_ARE_MADE_OF = {
    "groups, one frozen, one with a rule and a schedule of its own": (f"optimizer.groups={GROUPS}",),
    "schedule-free, the iterate saved beside what is evaluated": (
        "optimizer=schedule_free_adamw",
        "averaging=exponential",
    ),
    "prodigy's estimate, and a mean of the weights": ("optimizer=prodigy", "averaging=polyak"),
    "muon with adamw, samples of the weights, two schedules at once": (
        "optimizer=muon",
        "averaging=stochastic",
        "averaging.start=0.2",
        "averaging.every=0.4",
        "schedule=one_cycle",
    ),
    "adafactor's rows and columns, and slow weights": (
        "optimizer=adafactor",
        "wrapper=lookahead",
        "wrapper.k=3",
        "gradient=centralization",
    ),
    "rprop's steps of each element": (
        "optimizer=rprop",
        "schedule=cosine_restarts",
        "schedule.learning_rate.unit=epoch",
    ),
    "sm3's cover": ("optimizer=sm3", "schedule=cosine", "schedule.learning_rate.warmup=0.4"),
    "sharpness-aware gradients, two changes, a wrapper, a constraint": (
        "optimizer=sgd",
        "gradient=sharpness_aware",
        "clipping=adaptive",
        "wrapper=nesterov_momentum",
        "constraint=max_norm",
        "optimizer.weight_decay=0.01",
    ),
    "indices of examples that stay on the device": ("training.feeding=resident", "optimizer=amsgrad"),
    "no validation part": ("data.validation_fraction=0", "optimizer=adan"),
}


@pytest.mark.parametrize("arguments", WHAT_RUNS_ARE_MADE_OF.values(), ids=list(WHAT_RUNS_ARE_MADE_OF))
def test_a_run_goes_on_from_the_middle_of_an_epoch_to_the_same_bits(
    train: Train, arguments: tuple[str, ...]
) -> None:
    assert_goes_on(train, 8, *SMALL, *arguments)


def test_dropout_augmentation_accumulation_plateau_noise_and_averages_go_on(train: Train) -> None:
    """With what is soaked, stopped in an epoch after the plateau's first reduction, before a short group."""
    run = [word for word in RUN if "position" not in word]
    small = ("training.epochs=5", "data.validation_fraction=0.78")
    patience = ("schedule.learning_rate.patience=1", "schedule.learning_rate.threshold=0.9")
    quiet = ("logger.curves=null", "logger.pictures=null")
    whole = assert_goes_on(train, 8, *run, *small, *patience, *quiet)
    assert whole.summary["steps"] == 15
    rates = [record["hyperparameter/learning_rate"] for record in whole.records]
    assert rates == [0.05, 0.05, 0.025, 0.0125, 0.00625]


@pytest.mark.parametrize(
    "update",
    [1, 5, 6, 15],
    ids=["the run's first", "the last of an epoch", "the first of an epoch", "the run's last"],
)
def test_a_run_goes_on_from_any_place_in_an_epoch(train: Train, update: int) -> None:
    assert_goes_on(train, update, *SMALL, "model.dropout=0.5", "training.checkpoints.every_epochs=null")


def test_a_run_goes_on_as_often_as_it_is_stopped(train: Train) -> None:
    whole = train(*SMALL, folder="whole")
    with stopped_at(1):
        stopped = train(*SMALL, folder="stopped")
    for update in (2, 5, 6, 11):
        with stopped_at(update):
            assert train("resume=stopped").status == 143
    assert train("resume=stopped").status == 0
    assert differences(left_by(whole.folder), left_by(stopped.folder)) == []


def test_states_that_are_carried_from_batch_to_batch_go_on(train: Train, tmp_path: Path) -> None:
    letters = "the quick brown fox jumps over the lazy dog. "
    (tmp_path / "letters.txt").write_text("".join(letters[place % 37 :] for place in range(60)))
    assert_goes_on(
        train,
        7,
        *SMALL[2:],
        "data=text",
        "data.file=letters.txt",
        "data.length=8",
        "model=char_lstm",
        "model.units=6",
        "model.dropout=0.3",
        "training.batch_size=4",
        "training.evaluation_batch_size=4",
    )
