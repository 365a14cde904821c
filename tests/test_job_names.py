"""The names of jobs' folders: what was varied, in a form that every file system and shell takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Finished
from trainer.sweep.naming import fixed_keys, job_folder

Train = Callable[..., Finished]

SMALL = ("model.hidden=[4]", "training.epochs=1", "training.steps_per_epoch=2", "logger.curves=null")


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "7"),
        (["optimizer=adam"], "7_optimizer=adam"),
        (
            ["optimizer.learning_rate=1e-4", "training.seed=2"],
            "7_optimizer.learning_rate=1e-4,training.seed=2",
        ),
        (["optimizer.learning_rate=0.00014016907816835644"], "7_optimizer.learning_rate=0.000140169"),
        (["model.hidden=[256,128]"], "7_model.hidden=256-128"),
        (["+clipping@clipping.first=value"], "7_clipping@clipping.first=value"),
        (["data.file='../my data/a b.csv'"], "7_data.file=..-my-data-a-b.csv"),
        (["optimizer.rho=-1"], "7_optimizer.rho=-1"),
    ],
)
def test_a_folder_is_named_by_number_and_overrides(overrides: list[str], name: str) -> None:
    assert job_folder(7, overrides) == name


def test_keys_that_do_not_vary_are_left_out() -> None:
    given = ["training.epochs=3", "optimizer=sgd", "+training.extra=1"]
    assert job_folder(0, given, ["training.epochs", "training.extra"]) == "0_optimizer=sgd"


def test_of_a_key_that_is_given_twice_the_last_counts() -> None:
    assert fixed_keys(
        ["optimizer=adam", "training.epochs=1,2", "optimizer=sgd,adam", "training.epochs=3"]
    ) == ["training.epochs"]


def test_long_keys_give_way_to_their_last_parts() -> None:
    given = [f"schedule.learning_rate.a_long_name_of_a_key_{number}=1" for number in range(3)]
    assert job_folder(0, given).startswith("0_a_long_name_of_a_key_0=1,a_long_name_of_a_key_1=1")


@given(st.integers(0, 10**6), st.lists(st.text(max_size=80), max_size=8))
def test_any_overrides_give_a_safe_name_that_begins_with_the_number(
    number: int, overrides: list[str]
) -> None:
    name = job_folder(number, overrides)
    assert re.fullmatch(rf"{number}(_[A-Za-z0-9_.=@+,-]+)?", name)
    assert len(name) <= 120


@pytest.mark.usefixtures("uncompiled")
def test_a_sweep_names_its_folders_by_what_varies_alone(train: Train, tmp_path: Path) -> None:
    finished = train(
        "-m", *SMALL, "optimizer=sgd,adam", "optimizer.learning_rate=0.1", "hydra.sweep.dir=sweep"
    )
    assert finished.status == 0, finished.err
    jobs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert jobs == ["0_optimizer=sgd", "1_optimizer=adam"]


@pytest.mark.usefixtures("uncompiled")
def test_one_job_is_called_by_its_number(train: Train, tmp_path: Path) -> None:
    assert train("-m", *SMALL, "hydra.sweep.dir=sweep").status == 0
    assert (tmp_path / "sweep" / "0" / "summary.json").exists()
