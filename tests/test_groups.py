"""Parameter groups as they are typed: numbers, rules and schedules for some parameters, or none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import Finished

Train = Callable[..., Finished]

pytestmark = pytest.mark.usefixtures("uncompiled")

# Four updates, each an epoch of its own, so that each is in metrics.jsonl.
FOUR = (
    "model.hidden=[4]",
    "training.epochs=4",
    "training.steps_per_epoch=1",
    "logger.curves=null",
    "logger.pictures=null",
)
WITHOUT_DECAY = '{match: "*.b", weight_decay: 0}'
SLOW = '{match: "dense_1.*", learning_rate_scale: 0.1}'


def values(finished: Finished, name: str) -> list[float]:
    """Return what metrics.jsonl has of a hyperparameter."""
    assert finished.status == 0, finished.err
    return [record[f"hyperparameter/{name}"] for record in finished.records]


def moved(finished: Finished, other: Finished) -> dict[str, float]:
    """Return how far apart the last weights of two runs are, by parameter."""
    one, two = (load_file(run.folder / "checkpoints" / "last.safetensors") for run in (finished, other))
    return {name: float(np.abs(one[name] - two[name]).max()) for name in one}


def test_biases_without_decay_and_a_slow_layer(train: Train) -> None:
    typed = f"optimizer.groups=[{WITHOUT_DECAY}, {SLOW}]"
    sgd = (*FOUR, "training.epochs=1", "optimizer=sgd", "optimizer.weight_decay=0.5")
    start = train(*sgd, "optimizer.learning_rate=0", folder="start")
    plain = train(*sgd, "optimizer.learning_rate=0.1", "optimizer.weight_decay=0", folder="plain")
    grouped = train(*sgd, "optimizer.learning_rate=0.1", typed, folder="grouped")
    assert values(grouped, "groups.group_1.weight_decay") == [0.0]
    assert values(grouped, "groups.group_2.learning_rate_scale") == [0.1]
    weights = {
        name: load_file(run.folder / "checkpoints" / "last.safetensors")
        for name, run in (("start", start), ("plain", plain), ("grouped", grouped))
    }
    for name, begun in weights["start"].items():
        step = weights["plain"][name] - begun
        scale = 0.1 if name.startswith("dense_1") else 1.0
        decay = 0.0 if name.endswith(".b") else 0.1 * scale * 0.5
        np.testing.assert_allclose(
            weights["grouped"][name], begun + scale * step - decay * begun, rtol=1e-5, atol=1e-7, err_msg=name
        )


@pytest.mark.parametrize(
    "typed",
    [
        'optimizer.groups=[{match: "*.b", learning_rate: 0.5}]',
        "optimizer.groups=[{match: '*.b', learning_rate: 0.5}]",
        "optimizer.groups=[{match: *.b, learning_rate: 0.5}]",
        'optimizer.groups=[{match:"*.b",learning_rate:0.5}]',
        'optimizer.groups=[{match: ["*.b"], learning_rate: 0.5, name: group_1}]',
    ],
)
def test_a_list_is_read_however_it_is_quoted(train: Train, typed: str) -> None:
    finished = train(*FOUR, "training.epochs=1", typed)
    assert values(finished, "groups.group_1.learning_rate") == [0.5]


def test_an_experiments_file_has_groups(train: Train, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "grouped.yaml").write_text(
        "# @package _global_\n"
        "optimizer:\n"
        "  weight_decay: 0.1\n"
        "  groups:\n"
        "    - match: ['*.b', dense_2.W]\n"
        "      name: free\n"
        "      weight_decay: 0\n"
        "    - match: dense_2.*\n"
        "      name: head\n"
        "      _target_: sgd\n"
        "      learning_rate: 0.3\n"
        "      schedule:\n"
        "        learning_rate: {_target_: linear, final: 0.1}\n"
    )
    finished = train("--config-dir", "mine", "experiment=grouped", *FOUR)
    assert values(finished, "groups.free.weight_decay") == [0.0] * 4
    assert values(finished, "groups.head.learning_rate") == pytest.approx([0.3, 0.25, 0.2, 0.15])
    assert values(finished, "weight_decay") == pytest.approx([0.1] * 4)


def test_another_rule_is_a_file_by_its_name_with_its_values(train: Train) -> None:
    finished = train(
        *FOUR,
        'optimizer.groups=[{match: "*.b", _target_: momentum, name: biases, momentum: 0.5}]',
        "schedule=linear",
    )
    assert values(finished, "learning_rate") == pytest.approx([0.002, 0.0015, 0.001, 0.0005])
    # The file's own learning rate, which the schedule of the other rule's does not touch.
    assert values(finished, "groups.biases.learning_rate") == pytest.approx([0.05] * 4)
    assert values(finished, "groups.biases.momentum") == [0.5] * 4


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        # The configured value, the group's own schedule.
        (('{match: "*.b", name: b, schedule: {learning_rate: cosine}}',), [1.0, 0.853553, 0.5, 0.146447]),
        # A value of the group's own does not follow the schedule of the others.
        (('{match: "*.b", name: b, learning_rate: 0.002}', "schedule=linear"), [1.0, 1.0, 1.0, 1.0]),
        (
            (
                '{match: "*.b", name: b, learning_rate: 0.002}',
                "schedule@schedule.groups.b.learning_rate=linear",
                "schedule.groups.b.learning_rate.final=0.001",
            ),
            [1.0, 0.875, 0.75, 0.625],
        ),
    ],
)
def test_a_group_has_schedules_of_its_own(
    train: Train, typed: tuple[str, ...], expected: list[float]
) -> None:
    finished = train(*FOUR, f"optimizer.groups=[{typed[0]}]", *typed[1:])
    found = values(finished, "groups.b.learning_rate")
    assert [value / 0.002 for value in found] == pytest.approx(expected, rel=1e-5)


def test_what_is_frozen_stays_where_it_began(train: Train) -> None:
    start = train(*FOUR, "optimizer.learning_rate=0", folder="start")
    frozen = train(*FOUR, 'optimizer.groups=[{match: "dense_1.*", freeze: true}]', folder="frozen")
    apart = moved(frozen, start)
    assert apart["dense_1.W"] == apart["dense_1.b"] == 0.0
    assert apart["dense_2.W"] > 0
    assert apart["dense_2.b"] > 0
    assert not any("groups" in name for name in frozen.records[0])


def test_a_sweep_goes_over_lists_of_groups(train: Train, tmp_path: Path) -> None:
    typed = 'optimizer.groups=[],[{match: "*.b", name: b, learning_rate: 0.5}]'
    finished = train("-m", *FOUR, "training.epochs=1", typed, "hydra.sweep.dir=sweep")
    assert finished.status == 0, finished.err
    folders = [next((tmp_path / "sweep").glob(f"{job}_*")) for job in range(2)]
    first, second = (Finished(0, "", "", folder).records[0] for folder in folders)
    assert "hyperparameter/groups.b.learning_rate" not in first
    assert second["hyperparameter/groups.b.learning_rate"] == 0.5
