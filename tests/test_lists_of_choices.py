"""A list of a group's choices, of which Hydra would make one: refused in one sentence, wherever it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import Finished

Train = Callable[..., Finished]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of a person's own files."""
    files = {
        "experiment/chain": "# @package _global_\ndefaults: [override /clipping: [value, norm]]\n",
        "experiment/link": "# @package _global_\ndefaults: [override /clipping: [norm]]\n",
        "experiment/rules": "# @package _global_\ndefaults: [override /optimizer: [sgd, adam]]\n",
        "callbacks/other": "other: {_target_: mine.Callback}\n",
        "optimizer/mine": "defaults: [adam, _self_]\nlearning_rate: 0.003\n",
        "optimizer/slow": "learning_rate: 0.0001\n",
    }
    for name, text in files.items():
        path = tmp_path / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            "optimizer=[sgd,adam]",
            "optimizer=[sgd,adam] chooses 2, and there is one: give one of them, as optimizer=sgd, or "
            "--multirun optimizer=sgd,adam to try each",
        ),
        ("data=[digits,iris]", "--multirun data=digits,iris to try each"),
        ("device=[cpu,cuda]", "device=[cpu,cuda] chooses 2"),
        ("schedule@schedule.momentum=[linear,cosine]", "give one of them, as schedule@schedule.momentum=li"),
        ("optimizer=[mine,sgd]", "optimizer=[mine,sgd] chooses 2"),
        ("hydra/launcher=[joblib,slurm]", "there is one: give one of them, as hydra/launcher=joblib"),
        ("experiment=rules", "optimizer=[sgd,adam] chooses 2"),
        ("experiment=chain", "/clipping@clipping.first: value in the file"),
        ("-m optimizer=[sgd,adam] training.seed=1,2", "optimizer=[sgd,adam] chooses 2"),
        ("-m optimizer=lion,[sgd,adam]", "optimizer=[sgd,adam] chooses 2"),
    ],
)
def test_choices_of_which_there_is_one_are_refused(train: Train, own: Path, typed: str, told: str) -> None:
    finished = train("--config-dir", str(own), *typed.split())
    assert finished.status == 2
    assert told in finished.err
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "key", "value"),
    [
        ("logger=[csv,tensorboard]", "logger", {"csv", "tensorboard", "json_lines"}),
        ("callbacks=[early_stopping,other]", "callbacks", {"early_stopping", "other"}),
        ("clipping=[value,norm]", "clipping", {"value", "norm"}),
        ("optimizer=[sgd]", "optimizer._target_", "trainer.updates.sgd"),
        ("optimizer=mine", "optimizer.learning_rate", 0.003),
        ("optimizer=[adam,slow]", "optimizer.learning_rate", 0.0001),
        ("experiment=link", "clipping._target_", "trainer.updates.clip_by_norm"),
    ],
)
def test_what_goes_together_is_chosen_together(
    train: Train, own: Path, typed: str, key: str, value: object
) -> None:
    finished = train("--config-dir", str(own), "--cfg", "job", typed)
    assert finished.status == 0, finished.err
    node = yaml.safe_load(finished.out)
    for part in key.split("."):
        node = node[part]
    assert value <= set(node) if isinstance(value, set) else node == value


def test_a_sweep_without_jobs_is_refused_and_leaves_no_folder(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    finished = train("-m", "training.seed=range(0)", "optimizer=sgd,adam", f"hydra.sweep.dir={folder}")
    assert finished.status == 2
    assert finished.err == (
        "Error: training.seed=range(0) has no values, and so there are no jobs: give one\n"
    )
    assert not folder.exists()
