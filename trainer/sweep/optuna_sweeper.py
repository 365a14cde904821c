"""The sweeper behind `hydra/sweeper=optuna`: trials, some at a time, by whatever launcher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from trainer.errors import RunError, UsageError
from trainer.loggers.screen import screen
from trainer.loggers.wording import show, spoken
from trainer.sweep.begun import read_summary
from trainer.sweep.launching import Launching, folder_of, plain, whole
from trainer.sweep.live import end as end_live
from trainer.sweep.manifest import Manifest
from trainer.sweep.optuna_objectives import RESULT, directions_of, value_of

if TYPE_CHECKING:
    import optuna

    from trainer.sweep.optuna_space import SearchSpace

_ENDED = ("completed", "stopped_early")
# Later trials are to learn from earlier ones.
_ROUNDS = 5


class Launcher(Protocol):
    """What is needed of Hydra's launchers."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run some jobs, and wait for them."""


@dataclass(frozen=True)
class Plan:
    """What a sweep by Optuna is asked for.

    Attributes
    ----------
    trials : int
        How many there will be in all.
    at_once : int
        How many are launched at a time.
    seed : int
        Of the proposals.
    objectives : mapping
        `minimize` or `maximize` for each number that counts.
    sampler : mapping
        `_target_` and arguments of one of Optuna's samplers.
    """

    trials: int
    at_once: int
    seed: int
    objectives: Mapping[str, str]
    sampler: Mapping[str, Any]


def sweep(plugin: Launching, arguments: Sequence[str]) -> list[JobReturn]:
    """Run the trials of a sweep, or those that the study in its folder still lacks.

    Parameters
    ----------
    plugin : Launching
        Its `settings` are the node `hydra.sweeper`.
    arguments : sequence of str
        The overrides of the command line.

    Raises
    ------
    UsageError
        Where Optuna is not installed, for an option out of its range, a search space that is none, an
        objective that jobs do not have, and a study of another search.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UsageError("hydra/sweeper=optuna needs Optuna: pip install 'theano-trainer[optuna]'") from None
    from trainer.sweep.optuna_pickles import refuse_foreign_pickles
    from trainer.sweep.optuna_space import SearchSpace
    from trainer.sweep.optuna_study import make_pruner, open_study

    options, config, context = plain(plugin.settings), plugin.config, plugin.hydra_context
    assert config is not None
    assert context is not None
    searched = [f"{key}={value}" for key, value in (options["params"] or {}).items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    space = SearchSpace.of(parser.parse_overrides([*searched, *arguments]))
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=plugin.task_function, config=config
    )
    plan = _plan(options, config, launcher, space)
    make_pruner(options["pruner"])  # now rather than in each job, for a mistake in it
    folder = Path(str(config.hydra.sweep.dir))
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")
    _note_total(folder, plan.trials)
    study = open_study(folder, space, plan.objectives)
    refuse_foreign_pickles(study)
    if not (folder / RESULT).exists():
        _write_result(folder, plan.objectives, [])
    return OptunaSweep(plan, space, study, config, launcher).run()


class OptunaSweep:
    """Runs trials until there are as many as planned. A trial's number is that of its job.

    Parameters
    ----------
    plan : Plan
        What is asked for.
    space : SearchSpace
        What varies.
    study : optuna.Study
        What was found so far; trials that were running when a process was killed go on.
    config : DictConfig
        The sweep's, with Hydra's own node.
    launcher : Launcher
        Runs the jobs.
    """

    def __init__(
        self, plan: Plan, space: SearchSpace, study: optuna.Study, config: DictConfig, launcher: Launcher
    ) -> None:
        self.plan, self.space, self.study = plan, space, study
        self.config, self.launcher = config, launcher
        self._tried: set[int] = set()

    def run(self) -> list[JobReturn]:
        """Run all trials that are lacking; write and tell the result."""
        returned: list[JobReturn] = []
        while batch := self._next():
            jobs = [self._overrides(number) for number in batch]
            self._tried.update(batch)
            returned += self.launcher.launch(jobs, initial_job_idx=batch[0])
            for number in batch:
                self._tell(number)
        self._conclude()
        return returned

    def _next(self) -> list[int]:
        """Return the numbers of the trials to launch now, which follow each other."""
        from optuna.trial import TrialState

        open_ones = [
            trial.number
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state in (TrialState.RUNNING, TrialState.WAITING) and trial.number not in self._tried
        ]
        if open_ones:
            first = open_ones[0]
            follow = [number for place, number in enumerate(open_ones) if number == first + place]
            return follow[: self.plan.at_once]
        begun = len(self.study.get_trials(deepcopy=False))
        batch = []
        for _ in range(min(self.plan.at_once, self.plan.trials - begun)):
            number = self._ask()
            batch.append(number)
        return batch

    def _ask(self) -> int:
        """Begin a trial, its values included, and return its number."""
        from trainer.sweep.optuna_study import make_sampler

        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = make_sampler(self.plan.sampler, self.plan.seed, number, self.space)
        trial = self.study.ask()
        self.space.propose(trial)
        return trial.number

    def _overrides(self, number: int) -> list[str]:
        """Return a trial's overrides; values that it lacks, where a process was killed, are proposed now.

        Raises
        ------
        hydra.errors.HydraException
            Where nothing can be composed of them; the trial has failed then.
        """
        from trainer.sweep.optuna_study import make_sampler, trial_of

        self.study.sampler = make_sampler(self.plan.sampler, self.plan.seed, number, self.space)
        return self.space.propose(trial_of(self.study, number))

    def _tell(self, number: int) -> None:
        """Tell the study what became of a trial.

        One that was interrupted, or failed by no fault of its values, stays open: a resumption runs it, and
        Optuna lets nobody change a trial that was told.
        """
        from optuna.samplers import GridSampler, RandomSampler
        from optuna.trial import TrialState

        from trainer.sweep.optuna_study import PRUNED

        if isinstance(self.study.sampler, GridSampler):
            # At the end of its grid it would stop a loop of Optuna's own, which there is not.
            self.study.sampler = RandomSampler()
        folder = folder_of(self.config, number)
        summary = read_summary(folder) if folder is not None else {}
        status = summary.get("status")
        if status == "diverged" or (status == "failed" and summary.get("exit_status") == 2):
            self.study.tell(number, state=TrialState.FAIL)
            return
        if folder is None or status not in _ENDED:
            return
        frozen = self.study.get_trials(deepcopy=False)[number]
        if status == "stopped_early" and PRUNED in frozen.user_attrs:
            self.study.tell(number, state=TrialState.PRUNED)
            return
        values = [value_of(summary, name, folder) for name in self.plan.objectives]
        if all(value is not None and math.isfinite(value) for value in values):
            self.study.tell(number, [float(value) for value in values if value is not None])
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def _conclude(self) -> None:
        """Write and show which trials are the best."""
        from trainer.sweep.optuna_study import PRUNED

        best = sorted(self.study.best_trials, key=lambda trial: trial.number)
        names = list(self.plan.objectives)
        found = [
            {
                "job": trial.number,
                "values": dict(zip(names, trial.values, strict=True)),
                "params": dict(trial.params),
            }
            for trial in best
        ]
        folder = Path(str(self.config.hydra.sweep.dir))
        _write_result(folder, self.plan.objectives, found)
        if not found:
            return
        end_live()
        heading = f"Best of {len(self.study.trials)} trials"
        if len(names) > 1:
            heading = f"Pareto front of {len(self.study.trials)} trials by {' and '.join(map(spoken, names))}"
        elif pruned := sum(PRUNED in trial.user_attrs for trial in self.study.get_trials(deepcopy=False)):
            heading += f", {pruned} of them pruned"
        screen().print(heading, soft_wrap=True)
        for trial in best:
            values = ", ".join(
                f"{spoken(name)} {show(name, value)}" for name, value in zip(names, trial.values, strict=True)
            )
            given = " ".join(f"{key}={_brief(value)}" for key, value in trial.params.items())
            screen().print(f"  job {trial.number}: {values}: {given}", soft_wrap=True)


def _write_result(folder: Path, objectives: Mapping[str, str], found: Sequence[Mapping[str, Any]]) -> None:
    OmegaConf.save({"name": "optuna", "objectives": dict(objectives), "best": list(found)}, folder / RESULT)


def _brief(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _plan(options: Mapping[str, Any], config: DictConfig, launcher: Any, space: SearchSpace) -> Plan:
    from trainer.sweep.optuna_study import make_sampler

    trials = whole(options["n_trials"], "hydra.sweeper.n_trials")
    seed = whole(options["seed"], "hydra.sweeper.seed", 0)
    make_sampler(options["sampler"], seed, 0, space)  # now, for a mistake in it
    if str(options["sampler"].get("_target_")).endswith(".GridSampler"):
        trials = min(trials, math.prod(len(values) for values in space.grid().values()))
    capacity = launcher.at_once() if hasattr(launcher, "at_once") else 1
    at_once = min(capacity, max(1, trials // _ROUNDS))
    if options["n_jobs"] is not None:
        at_once = whole(options["n_jobs"], "hydra.sweeper.n_jobs")
    monitor, mode = str(config.training.monitor), str(config.training.mode)
    objectives = options["objectives"] or [monitor]
    if isinstance(objectives, str):
        objectives = [objectives]
    directions = options["directions"]
    if isinstance(directions, str):
        directions = [directions]
    return Plan(
        trials=trials,
        at_once=at_once,
        seed=seed,
        objectives=directions_of(objectives, directions, monitor, mode),
        sampler=options["sampler"],
    )


def _note_total(folder: Path, trials: int) -> None:
    """Have the sweep's manifest say how many jobs there will be, where a grid has fewer than were allowed."""
    try:
        manifest = Manifest.read(folder)
    except (UsageError, RunError):
        return
    if manifest.total != trials:
        replace(manifest, total=trials).write(folder)
