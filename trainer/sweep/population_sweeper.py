"""The sweeper behind `hydra/sweeper=population`: a generation is one batch of jobs, by whatever launcher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from trainer.errors import RunError, UsageError
from trainer.loggers.atomic import clear_leftovers
from trainer.loggers.json_lines import read_records
from trainer.loggers.screen import screen
from trainer.loggers.wording import show, spoken
from trainer.sweep import population
from trainer.sweep.launching import Launching
from trainer.sweep.population import Generation, Rules, lineage, with_scores
from trainer.sweep.population_folders import failure, member_folder, score, take_over
from trainer.sweep.population_space import Space, dimension

_SEED = "training.seed"


class Launcher(Protocol):
    """What is needed of Hydra's launchers."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run some jobs, and wait for them."""


class PopulationSweep:
    """Trains a population and returns what its last generation's jobs returned.

    Parameters
    ----------
    rules : Rules
        How a generation follows from the one before.
    seed : int
        Of all draws.
    config : DictConfig
        The sweep's, with Hydra's own node.
    launcher : Launcher
        Runs a generation's jobs.
    overrides : sequence of Override
        What was given: those that sweep are the search space, the others go to each job.

    Raises
    ------
    UsageError
        Where the search space is none.
    """

    def __init__(
        self, rules: Rules, seed: int, config: DictConfig, launcher: Launcher, overrides: Sequence[Override]
    ) -> None:
        self.rules = rules
        self.launcher = launcher
        self.folder = Path(str(config.hydra.sweep.dir))
        self.epochs = int(config.training.epochs)
        self.monitor = str(config.training.monitor)
        # Of a key that is given twice, the last counts, as everywhere.
        given = {each.get_key_element().lstrip("+"): each for each in overrides}.values()
        searched = [override for override in given if override.is_sweep_override()]
        self.space = Space({override.key_or_group: dimension(override) for override in searched}, seed)
        if not searched:
            raise UsageError(
                "a population varies at least one hyperparameter: give its range, as in "
                "'optimizer.learning_rate=tag(log,interval(1e-4,1e-1))'"
            )
        self._keys = {override.key_or_group: override.get_key_element() for override in searched}
        self._first_seed = int(config.training.seed)
        self._common = [
            str(override.input_line)
            for override in given
            if not override.is_sweep_override() and override.key_or_group != _SEED
        ]
        self._settings = {
            "members": rules.members,
            "interval": rules.interval,
            "quantile": rules.quantile,
            "factors": list(rules.factors),
            "resample_probability": rules.resample_probability,
            "seed": seed,
            "monitor": self.monitor,
            "mode": rules.mode,
            "search": {each.key_or_group: str(each.input_line).partition("=")[2] for each in searched},
        }

    def run(self) -> Sequence[JobReturn]:
        """Train all generations, or those that the folder's population still lacks.

        Raises
        ------
        UsageError
            Where the population in the folder is another, where a key of the search space is of no
            hyperparameter, and where a mistake of the user's ended all members.
        RunError
            Where there is no member left to go on with, or one was stopped within its slice.
        """
        generations = population.read(self.folder, self._settings)
        if not generations:
            generations = [self.rules.first(self.space, self.epochs)]
            self._write(generations)
        returned = self._train(generations) if not generations[-1].done else []
        while generations[-1].epoch < self.epochs:
            generations.append(self.rules.next(self.space, generations, self.epochs))
            self._write(generations)
            returned = self._train(generations)
        self._tell(generations)
        return returned or self._launch(generations[-1])

    def jobs(self, generation: Generation) -> list[list[str]]:
        """Return the overrides of each member's job."""
        return [
            [
                *self._common,
                *(f"{self._keys[key]}={value!r}" for key, value in member.hyperparameters.items()),
                f"{_SEED}={self._first_seed + number}",
                f"hydra.sweep.subdir={member_folder(self.folder, number).name}",
                f"hydra.sweeper.until={generation.epoch}",
            ]
            for number, member in enumerate(generation.members)
        ]

    def _launch(self, generation: Generation) -> Sequence[JobReturn]:
        return self.launcher.launch(self.jobs(generation), initial_job_idx=0)

    def _train(self, generations: list[Generation]) -> Sequence[JobReturn]:
        """Train the last generation, and put its scores into the list and the file."""
        generation = generations[-1]
        for number, member in enumerate(generation.members):
            if member.parent is not None:
                take_over(
                    member_folder(self.folder, number),
                    member_folder(self.folder, member.parent),
                    len(generations) - 1,
                    member.parent,
                )
        returned = self._launch(generation)
        folders = [member_folder(self.folder, number) for number in range(self.rules.members)]
        # A job that a launcher lost has left in its folder what it had done before.
        scores = [
            None if job.status == JobStatus.FAILED else score(folder, self.monitor, generation.epoch)
            for job, folder in zip(returned, folders, strict=True)
        ]
        scored = with_scores(generation, scores)
        if not self.rules.ranked(scored):
            self._give_up(folders)
        self._check_keys(folders[self.rules.ranked(scored)[0]])
        generations[-1] = scored
        self._write(generations)
        return returned

    def _give_up(self, folders: Sequence[Path]) -> NoReturn:
        failures = [failure(folder) for folder in folders]
        told = f"no member of {self.folder} is left to go on with; member 0: {failures[0][0]}"
        raise (UsageError if all(status == 2 for _, status in failures) else RunError)(told)

    def _check_keys(self, folder: Path) -> None:
        """Refuse keys of the search space that turned out to be no shared scalars."""
        last = read_records(folder / "metrics.jsonl")[-1]
        for key in self.space.dimensions:
            name = key.removeprefix("optimizer.")
            if not key.startswith("schedule.") and f"hyperparameter/{name}" not in last:
                raise UsageError(
                    f"{key} cannot vary in a population: it is no hyperparameter of the compiled step but a "
                    "number that shapes it; give it one value"
                )

    def _write(self, generations: Sequence[Generation]) -> None:
        population.write(self.folder, self._settings, generations)

    def _tell(self, generations: Sequence[Generation]) -> None:
        best = self.rules.ranked(generations[-1])[0]
        member = generations[-1].members[best]
        told = ", ".join(f"{key}={value:g}" for key, value in member.hyperparameters.items())
        ancestors = [str(number) for number in dict.fromkeys(lineage(generations, best))]
        screen().print(
            f"Member {best} ends best of {self.rules.members}: {spoken(self.monitor)} "
            f"{show(self.monitor, member.score)} after epoch {generations[-1].epoch}, with {told}"
            + (f"; its weights went from member {' to '.join(ancestors)}" if len(ancestors) > 1 else ""),
            soft_wrap=True,
        )


def sweep(plugin: Launching, arguments: Sequence[str]) -> Sequence[JobReturn]:
    """Train a population, or what one in the sweep's folder still lacks.

    Parameters
    ----------
    plugin : Launching
        Its `settings` are the node `hydra.sweeper`.
    arguments : sequence of str
        The overrides of the command line.

    Returns
    -------
    sequence of JobReturn
        Those of the last generation's jobs.

    Raises
    ------
    UsageError
        For an option out of its range, and as `PopulationSweep` does.
    """
    context, config, options = plugin.hydra_context, plugin.config, plugin.settings
    assert context is not None
    assert config is not None
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=plugin.task_function, config=config
    )
    rules = _rules(options, str(config.training.mode))
    searched = [f"{key}={value}" for key, value in (options.get("params") or {}).items()]
    parser = OverridesParser.create(config_loader=context.config_loader)
    overrides = parser.parse_overrides([*searched, *arguments])
    population_sweep = PopulationSweep(rules, int(options["seed"]), config, launcher, overrides)
    population_sweep.folder.mkdir(parents=True, exist_ok=True)
    clear_leftovers(population_sweep.folder)
    OmegaConf.save(config, population_sweep.folder / "multirun.yaml")
    return population_sweep.run()


def _rules(options: Mapping[str, Any], mode: str) -> Rules:
    factors = options["factors"]
    checks = {
        "members": (_is_whole(options["members"], 2), "a whole number of at least 2"),
        "interval": (_is_whole(options["interval"], 1), "a whole number of epochs, at least 1"),
        "seed": (_is_whole(options["seed"], 0), "a whole number of at least 0"),
        "quantile": (
            _is_within(options["quantile"], 0.5) and options["quantile"],
            "a number above 0, to 0.5",
        ),
        "resample_probability": (_is_within(options["resample_probability"], 1), "a number from 0 to 1"),
        "factors": (
            isinstance(factors, Sequence)
            and not isinstance(factors, str)
            and factors
            and all(_is_within(factor, math.inf) and factor for factor in factors),
            "a list of numbers above 0, as [0.8,1.2]",
        ),
    }
    for name, (is_sound, allowed) in checks.items():
        if not is_sound:
            raise UsageError(f"hydra.sweeper.{name}={options[name]} is out of range: give {allowed}")
    return Rules(
        int(options["members"]),
        int(options["interval"]),
        float(options["quantile"]),
        [float(factor) for factor in factors],
        float(options["resample_probability"]),
        mode,
    )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_within(value: Any, most: float) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= most
