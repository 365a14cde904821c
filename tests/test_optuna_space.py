"""What Optuna searches and what for: Hydra's syntax, objectives, and the states that a study may hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'theano-trainer[optuna]'")

from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402
from optuna.distributions import (  # noqa: E402
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trainer.errors import UsageError  # noqa: E402
from trainer.sweep.optuna_objectives import directions_of, value_of  # noqa: E402
from trainer.sweep.optuna_pickles import refuse_foreign_pickles  # noqa: E402
from trainer.sweep.optuna_space import SearchSpace  # noqa: E402


def space(*overrides: str) -> SearchSpace:
    return SearchSpace.of(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("value", "distribution"),
    [
        ("interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("tag(log,interval(1e-5,1e-1))", FloatDistribution(1e-5, 1e-1, log=True)),
        ("int(interval(2,9))", IntDistribution(2, 9)),
        ("tag(log,int(interval(8,512)))", IntDistribution(8, 512, log=True)),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(9,0,-3)", IntDistribution(3, 9, step=3)),
        ("range(32,129,32)", IntDistribution(32, 128, step=32)),
        ("range(0.0,1.0,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("choice(a,b)", CategoricalDistribution(("a", "b"))),
        ("0.1,0.01", CategoricalDistribution(("0.1", "0.01"))),
        ("[4],[8,4]", CategoricalDistribution(("[4]", "[8,4]"))),
    ],
)
def test_hydras_syntax_is_a_distribution_of_optunas(value: str, distribution: BaseDistribution) -> None:
    assert space(f"key={value}").distributions == {"key": distribution}


def test_the_last_word_for_a_key_counts_and_signs_are_kept() -> None:
    found = space("model.hidden=[9]", "+a.b=interval(0,1)", "model.hidden=[4],[8]", "training.epochs=3")
    assert sorted(found.distributions) == ["a.b", "model.hidden"]
    assert found.forms["a.b"] == "+a.b"
    assert found.common == ["training.epochs=3"]


def test_a_proposal_is_overrides_that_hydra_reads_to_the_same_values() -> None:
    found = space("a=interval(0,1)", "b=int(interval(1,9))", "c=[1],[2]", "d=4")
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    words = found.propose(trial)
    read = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(words)}
    assert read["a"] == trial.params["a"]
    assert read["b"] == trial.params["b"]
    assert str(read["c"]) == trial.params["c"]
    assert read["d"] == 4


def test_the_grid_is_what_hydra_would_go_through() -> None:
    found = space("a=range(0.0,1.0,0.25)", "b=1,2", "c=range(8,3,-2)").grid()
    assert found == {"a": [0.0, 0.25, 0.5, 0.75], "b": ["1", "2"], "c": [4, 6, 8]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["training.epochs=3"], "has nothing to search"),
        (["a=tag(log,interval(0,1))"], "a=tag(log,interval(0,1)): Optuna cannot search this"),
        (["a=interval(2,1)"], "a=interval(2,1): Optuna cannot search this"),
        (["a=range(3,3)"], "a=range(3,3): Optuna cannot search this"),
    ],
)
def test_what_cannot_be_searched_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        space(*words)
    assert said in str(caught.value)


def test_the_monitor_goes_by_the_mode_and_costs_are_minimized() -> None:
    names = ["validation/accuracy", "train_seconds", "parameters", "test/loss"]
    assert directions_of(names, None, "validation/accuracy", "max") == {
        "validation/accuracy": "maximize",
        "train_seconds": "minimize",
        "parameters": "minimize",
        "test/loss": "minimize",
    }


@pytest.mark.parametrize(
    ("names", "directions", "said"),
    [
        (["a", "a"], None, "give each number's name once"),
        (["validation/accuracy"], None, "nothing says whether validation/accuracy"),
        (["a", "b"], ["minimize"], "give one for each of a, b"),
        (["a"], ["minimise"], "did you mean minimize?"),
    ],
)
def test_a_direction_that_is_in_doubt_is_asked_for(
    names: list[str], directions: list[str] | None, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        directions_of(names, directions, "validation/loss", "min")
    assert said in str(caught.value)


def test_an_objective_is_of_the_best_epoch_the_test_part_or_the_run() -> None:
    summary = {
        "best": {"validation/loss": 0.5},
        "test": {"loss": 0.25},
        "parameters": 7,
        "status": "completed",
    }
    names = ("validation/loss", "test/loss", "parameters")
    assert [value_of(summary, name, Path("0")) for name in names] == [0.5, 0.25, 7.0]
    with pytest.raises(UsageError, match=r"validation/los is no number of .*did you mean validation/loss"):
        value_of(summary, "validation/los", Path("0"))


def test_a_state_of_cma_es_is_taken() -> None:
    pytest.importorskip("cmaes", reason="cmaes is not installed: pip install 'theano-trainer[optuna]'")
    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=1))
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1) + trial.suggest_float("b", 0, 1), 16)
    assert any("optimizer" in key for trial in study.trials for key in trial.system_attrs)
    refuse_foreign_pickles(study)


class Runs:
    """What touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_state_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    study = optuna.create_study()
    trial = study.ask()
    state = pickle.dumps(Runs(tmp_path / "ran")).hex()
    half = len(state) // 2
    for number, part in enumerate((state[:half], state[half:])):
        study._storage.set_trial_system_attr(trial._trial_id, f"cma:optimizer:{number}", part)
    with pytest.raises(UsageError, match="state of CMA-ES that is none"):
        refuse_foreign_pickles(study)
    assert not (tmp_path / "ran").exists()
