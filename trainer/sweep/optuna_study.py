"""The study of a sweep: `study.db` in its folder, its sampler and its pruner."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.samplers import BaseSampler, GridSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from trainer.components import locate
from trainer.errors import UsageError
from trainer.sweep.optuna_space import SearchSpace

NAME = "study.db"
PRUNED = "pruned"  # notes on a trial after which epoch it was stopped
_STUDY = "sweep"
_ASKED = "asked"
# Processes of one sweep write in turn; the network file systems of clusters are slow.
_PATIENCE = 60.0
# What these propose follows from the trials in the study and their random numbers, so that each trial can
# have random numbers of its own. The others keep a sequence, or an order of the grid.
_REDRAWN = (TPESampler, RandomSampler, NSGAIISampler)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage(path: Path) -> RDBStorage:
    """Return the storage in a SQLite file, which is made where it is not there.

    Raises
    ------
    UsageError
        Where the file is no study, or was written by an Optuna that this one does not understand.
    """
    url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE}})
    except Exception as error:  # of Optuna, SQLAlchemy, Alembic and SQLite alike
        raise UsageError(
            f"{path} cannot be read as a study ({error}): begin a sweep in another folder"
        ) from error


def open_study(folder: Path, space: SearchSpace, objectives: Mapping[str, str]) -> optuna.Study:
    """Return the study of a sweep's folder, which is begun where there is none.

    Raises
    ------
    UsageError
        Where the study searched something else.
    """
    asked = {
        "objectives": dict(objectives),
        "space": {key: json.loads(distribution_to_json(each)) for key, each in space.distributions.items()},
    }
    study = optuna.create_study(
        storage=storage(folder / NAME),
        study_name=_STUDY,
        directions=[optuna.study.StudyDirection[each.upper()] for each in objectives.values()],
        load_if_exists=True,
    )
    known = study.user_attrs.get(_ASKED)
    if known is None:
        study.set_user_attr(_ASKED, asked)
    elif known != asked:
        raise UsageError(f"{folder / NAME} is the study of another search: {_difference(known, asked)}")
    return study


def load(path: Path, number: int, pruner: optuna.pruners.BasePruner) -> optuna.Trial:
    """Return the trial of a number, for the job that runs it."""
    study = optuna.load_study(
        storage=storage(path), study_name=_STUDY, pruner=pruner, sampler=RandomSampler()
    )
    return trial_of(study, number)


def trial_of(study: optuna.Study, number: int) -> optuna.Trial:
    """Return a trial that was begun, be it by another process."""
    return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def make_sampler(node: Mapping[str, Any], seed: int, number: int, space: SearchSpace) -> BaseSampler:
    """Make the sampler that proposes a trial's values.

    A trial's random numbers derive from the seed and its own number, so that a study which was interrupted
    goes on as it would have without.
    """
    kind = _class(node, BaseSampler, "hydra.sweeper.sampler")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    if issubclass(kind, _REDRAWN):
        seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if issubclass(kind, GridSampler):
        arguments["search_space"] = space.grid()
    return _made(kind, {**arguments, "seed": seed}, "hydra.sweeper.sampler")  # type: ignore[no-any-return]


def make_pruner(node: Mapping[str, Any] | None) -> optuna.pruners.BasePruner | None:
    """Make what decides which trials to stop; None where none are."""
    if not node:
        return None
    kind = _class(node, optuna.pruners.BasePruner, "hydra.sweeper.pruner")
    if issubclass(kind, optuna.pruners.NopPruner):
        return None
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    return _made(kind, arguments, "hydra.sweeper.pruner")  # type: ignore[no-any-return]


def _class(node: Mapping[str, Any], base: type, key: str) -> type:
    target = str(node.get("_target_"))
    kind = locate(target, f"{key}._target_")
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise UsageError(
            f"{key}._target_={target} is no {base.__name__} of Optuna's: choose {key.replace('.', '/')}=..."
        )
    return kind


def _made(kind: type, arguments: Mapping[str, Any], key: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an argument may change in a later Optuna
            return kind(**arguments)
    except ImportError as error:
        raise UsageError(f"{key}: {kind.__name__} needs a package that is not installed ({error})") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{key}: {error}") from error


def _difference(known: Any, asked: Mapping[str, Any]) -> str:
    for part in ("objectives", "space"):
        then, now = dict(known.get(part, {})), asked[part]
        for key in dict.fromkeys([*then, *now]):
            if then.get(key) != now.get(key):
                return f"{key} was {_said(then.get(key))}, and is now {_said(now.get(key))}"
    return "the order of its keys or objectives is another"


def _said(value: Any) -> str:
    return "not given" if value is None else json.dumps(value)
