"""The configurations of a multirun's jobs, composed of the files once for each choice of groups."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from trainer.sweep.loading import Loader

MOST_KEPT = 16
MOST_PARSED = 256


class Composing(Callback):
    """Hydra calls this at a multirun's start: from then on, a `Composer` composes the jobs.

    Reading some thirty files and merging them takes Hydra a tenth of a second, twice a job: a sweeper
    composes each to see whether it can be, and a launcher once more. Jobs that choose the same files differ
    by values alone, which are set in a copy.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Put the faster composition in the place of Hydra's own."""
        hydra = GlobalHydra.instance().hydra
        if hydra is None or type(hydra.config_loader) not in (ConfigLoaderImpl, Loader):
            return
        assert isinstance(hydra.config_loader, ConfigLoaderImpl)
        hydra.config_loader = Composer(hydra.config_loader)


class Composer(Loader):
    """Hydra's composition, which keeps what it has composed of files for the jobs that choose the same ones.

    Parameters
    ----------
    loader : ConfigLoaderImpl
        Hydra's own.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        super().__init__(loader.config_search_path)
        self._kept: OrderedDict[tuple[str, ...], Callable[[], DictConfig]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was kept behind: a worker composes its own."""
        return {**super().__getstate__(), "_kept": OrderedDict()}

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the configuration of a job, as Hydra composes it."""
        lines = [*map(str, master_config.hydra.overrides.hydra), *sweep_overrides]
        overrides = [_parsed(line) for line in lines]
        choices = [override for override in overrides if self._chooses_a_file(override)]
        composed = self._of_files(str(master_config.hydra.job.config_name), choices)
        if composed is None:
            return super().load_sweep_config(master_config, sweep_overrides)
        self._apply_overrides_to_config([each for each in overrides if each not in choices], composed)
        _note(composed, overrides)
        OmegaConf.copy_cache(from_config=master_config, to_config=composed)
        return composed

    def _chooses_a_file(self, override: Override) -> bool:
        return self.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)

    def _of_files(self, name: str, choices: Sequence[Override]) -> DictConfig | None:
        """Return a copy of what the files give; None where one of the choices is Hydra's to judge."""
        lines = [str(choice.input_line) for choice in choices]
        key = (name, *lines)
        if key not in self._kept:
            if any(choice.is_sweep_override() for choice in choices):
                return None
            self._kept[key] = _copies(self.load_configuration(name, lines, RunMode.RUN))
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]()


@lru_cache(MOST_PARSED)
def _parsed(line: str) -> Override:
    """Return an override, which nothing changes: the jobs of a sweep have most of them in common."""
    return OverridesParser.create().parse_overrides([line])[0]


def _copies(config: DictConfig) -> Callable[[], DictConfig]:
    """Return what gives copies of a configuration: by pickling in a sixth of the time of a deep copy."""
    try:
        content = pickle.dumps(config)
    except (pickle.PicklingError, TypeError, AttributeError):
        # Where Hydra has loaded its plugins twice, their classes are no more those of their names.
        return partial(copy.deepcopy, config)
    return partial(pickle.loads, content)


def _note(composed: DictConfig, overrides: Sequence[Override]) -> None:
    """Have a configuration say which overrides it has."""
    own = [override for override in overrides if not override.is_hydra_override()]
    hydra = composed.hydra
    hydra.overrides.hydra = [str(each.input_line) for each in overrides if each.is_hydra_override()]
    hydra.overrides.task = [str(each.input_line) for each in own]
    form = hydra.job.config.override_dirname
    hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, kv_sep=form.kv_sep, item_sep=form.item_sep, exclude_keys=form.exclude_keys
    )
