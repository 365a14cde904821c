"""`hydra/sweeper=population` as a command: members, selection, lineages, and what survives a kill."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished
from trainer.loggers.base import Logger

pytestmark = pytest.mark.usefixtures("uncompiled")

MEMBERS = 3
LEARNING_RATE, MOMENTUM = "optimizer.learning_rate", "optimizer.momentum"
SWEEP = (
    "-m",
    "hydra/sweeper=population",
    f"hydra.sweeper.members={MEMBERS}",
    "model.hidden=[4]",
    "optimizer=nesterov_momentum",
    f"{LEARNING_RATE}=tag(log,interval(1e-3,1))",
    f"{MOMENTUM}=interval(0.5,0.99)",
    "training.epochs=3",
    "training.steps_per_epoch=4",
    "training.seed=7",
    "logger.console=null",
    "logger.curves=null",
    "logger.pictures=null",
    "~hydra.callbacks.leaderboard",
)
KILLER = ("+logger.killer._target_=tests.test_population_sweep.Killer",)


class Killed(BaseException):
    """What stops a process here as a kill does: nothing of the program catches it."""


class Killer(Logger):
    """Stops the whole sweep at some of its records, counted over all of its jobs."""

    every = 0
    records = 0

    def record(self, record: Mapping[str, float | int]) -> None:
        """Count a record, and stop where it is due."""
        Killer.records += 1
        if Killer.every and Killer.records % Killer.every == 0:
            raise Killed


def population(folder: Path) -> list[dict[str, Any]]:
    """Return the generations of a population."""
    document = json.loads((folder / "population.json").read_text())
    generations: list[dict[str, Any]] = document["generations"]
    return generations


def records(folder: Path, member: int) -> list[dict[str, Any]]:
    lines = (folder / f"{member}_member" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def ancestors(generations: list[dict[str, Any]], member: int) -> list[int]:
    """Return who had a member's weights in each generation, found from the last one backwards."""
    found = [member]
    for generation in generations[:0:-1]:
        parent = generation["members"][str(found[0])]["parent"]
        found.insert(0, found[0] if parent is None else parent)
    return found


def left(folder: Path) -> dict[str, Any]:
    """Return what a population has left, times aside."""
    found: dict[str, Any] = {"population": population(folder)}
    for member in range(len(found["population"][0]["members"])):
        path = folder / f"{member}_member"
        found[f"records of {member}"] = [
            {key: value for key, value in record.items() if key != "seconds"}
            for record in records(folder, member)
        ]
        for weights in sorted(path.glob("checkpoints/**/*.safetensors")):
            found[str(weights.relative_to(folder))] = weights.read_bytes()
    return found


def sweep(train: Callable[..., Finished], folder: str, *others: str) -> Finished:
    return train(*SWEEP, f"hydra.sweep.dir={folder}", *others, folder=folder)


def test_a_members_metrics_are_the_history_of_its_weights(train: Callable[..., Finished]) -> None:
    finished = sweep(train, "sweep")
    assert finished.status == 0, finished.err
    generations = population(finished.folder)
    assert [generation["epoch"] for generation in generations] == [1, 2, 3]
    assert sum(one["parent"] is not None for one in generations[-1]["members"].values()) == 1
    for member in range(MEMBERS):
        history = records(finished.folder, member)
        assert [record["epoch"] for record in history] == [1, 2, 3]
        for record, generation, ancestor in zip(
            history, generations, ancestors(generations, member), strict=True
        ):
            then = generation["members"][str(ancestor)]
            assert record["validation/loss"] == then["score"]
            for key, value in then["hyperparameters"].items():
                recorded = record[f"hyperparameter/{key.removeprefix('optimizer.')}"]
                assert recorded == pytest.approx(value, rel=1e-6)
        summary = json.loads((finished.folder / f"{member}_member" / "summary.json").read_text())
        assert summary["status"] == "completed"
        assert summary["seed"] == 7 + member
        assert "loss" in summary["test"]


def test_every_logger_has_the_history_of_a_members_weights(
    train: Callable[..., Finished], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    from tests.test_loggers_tensorboard import scalars

    assert sweep(train, "all", "logger=[default,csv,tensorboard]").status == 0
    children = [
        int(member)
        for member, each in population(tmp_path / "all")[-1]["members"].items()
        if each["parent"] is not None
    ]
    assert children
    for member in children:
        folder = tmp_path / "all" / f"{member}_member"
        known = [(record["step"], record["train/loss"]) for record in records(tmp_path / "all", member)]
        with (folder / "metrics.csv").open(newline="") as file:
            assert [(int(row["step"]), float(row["train/loss"])) for row in csv.DictReader(file)] == known
        shown = scalars(folder)["train/loss"]
        assert [step for step, _ in shown] == [step for step, _ in known]
        assert [loss for _, loss in shown] == pytest.approx([loss for _, loss in known])


def test_the_best_member_is_told(train: Callable[..., Finished]) -> None:
    finished = sweep(train, "sweep", "training.epochs=2", "hydra.sweeper.interval=2")
    scores = {name: one["score"] for name, one in population(finished.folder)[-1]["members"].items()}
    best = min(scores, key=lambda name: scores[name])
    assert (
        f"Member {best} ends best of {MEMBERS}: validation loss {scores[best]:.4f} after epoch 2"
        in finished.out
    )


def test_the_seed_decides_all_of_it(train: Callable[..., Finished]) -> None:
    first, again, other = (
        sweep(
            train, folder, "training.epochs=1", "hydra.sweeper.members=2", f"hydra.sweeper.seed={seed}"
        ).folder
        for folder, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert (first / "population.json").read_bytes() == (again / "population.json").read_bytes()
    assert population(first) != population(other)


def test_a_sweep_that_is_killed_again_and_again_goes_on_to_the_same_population(
    train: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = (*KILLER, "hydra.sweeper.members=2")
    alone = sweep(train, "alone", *two)
    monkeypatch.setattr(Killer, "every", 2)
    monkeypatch.setattr(Killer, "records", 0)
    kills = 0
    while True:
        try:
            finished = sweep(train, "killed", *two)
            break
        except Killed:
            kills += 1
            assert kills < 20
    assert kills >= 3
    assert finished.status == 0, finished.err
    assert left(finished.folder) == left(alone.folder)


def test_members_that_diverge_go_on_from_one_that_does_not(train: Callable[..., Finished]) -> None:
    finished = sweep(train, "sweep", f"{LEARNING_RATE}=choice(0.1,1e38)", "hydra.sweeper.seed=3")
    first, second, *_ = population(finished.folder)
    lost = [name for name, one in first["members"].items() if one["score"] is None]
    assert lost
    assert len(lost) < MEMBERS
    for name in lost:
        assert first["members"][name]["hyperparameters"][LEARNING_RATE] == 1e38
        assert second["members"][name]["parent"] is not None
        assert str(second["members"][name]["parent"]) not in lost


def test_where_all_members_diverge_the_sweep_fails(train: Callable[..., Finished]) -> None:
    finished = sweep(train, "sweep", f"{LEARNING_RATE}=choice(1e37,1e38)")
    assert finished.status == 1
    assert len(population(finished.folder)) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("model.hidden=choice([4],[8])",), "model.hidden cannot vary in a population"),
        (("hydra.sweeper.members=1",), "hydra.sweeper.members=1 is out of range: give a whole number"),
        (("hydra.sweeper.factors=[]",), "hydra.sweeper.factors=[] is out of range"),
        (("hydra.sweeper.quantile=0.6",), "hydra.sweeper.quantile=0.6 is out of range"),
        ((f"{LEARNING_RATE}=0.1", f"{MOMENTUM}=0.9"), "a population varies at least one hyperparameter"),
    ],
)
def test_a_mistake_ends_the_command_before_anything_is_trained(
    train: Callable[..., Finished], changes: tuple[str, ...], told: str
) -> None:
    finished = sweep(train, "sweep", *changes)
    assert finished.status == 2
    assert told in finished.err
    assert not (finished.folder / "population.json").exists()


def test_a_number_that_shapes_the_step_is_refused(train: Callable[..., Finished]) -> None:
    finished = sweep(
        train,
        "sweep",
        "optimizer=muon",
        f"{LEARNING_RATE}=0.01",
        f"{MOMENTUM}=0.9",
        "optimizer.iterations=choice(2,3)",
    )
    assert finished.status == 2
    assert "optimizer.iterations cannot vary in a population" in finished.err


def test_another_search_in_the_same_folder_is_refused(train: Callable[..., Finished]) -> None:
    sweep(train, "sweep", "training.epochs=1")
    finished = sweep(train, "sweep", "training.epochs=1", f"{MOMENTUM}=interval(0.1,0.2)")
    assert finished.status == 2
    assert "interval(0.1,0.2)" in finished.err
