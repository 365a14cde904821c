"""A run that was trained, read back from its folder."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainer import config, runtime
from trainer.checked_yaml import LONGEST_REASON, checked_text, damaged
from trainer.commands.interpolations import check_interpolations
from trainer.commands.overrides import rewritten
from trainer.data.facts import Facts
from trainer.errors import UsageError, nearest
from trainer.loggers.atomic import write_atomically
from trainer.runtime import Runtime
from trainer.settings import Settings

if TYPE_CHECKING:
    from trainer.models import Network

WEIGHTS = ("best", "last", "best_averaged", "last_averaged")


@dataclass(frozen=True)
class SavedRun:
    """A run's settings, with Theano made ready for its device.

    Attributes
    ----------
    folder : Path
        The run's folder.
    settings : Settings
        As it was trained, with the overrides that were given now.
    machine : Runtime
        What Theano is ready for.
    """

    folder: Path
    settings: Settings
    machine: Runtime

    @classmethod
    def read(cls, folder: Path, overrides: Sequence[str] = ()) -> SavedRun:
        """Read a run's configuration, change it by overrides, and make Theano ready.

        Raises
        ------
        UsageError
            Where the folder is none of a run, or an override does not fit.
        """
        composed = read_configuration(folder, overrides)
        machine = runtime.prepare(**config.device_settings(composed))
        settings = config.interpret(
            composed,
            [*given_overrides(folder), *overrides],
            trusted=list(composed.allowed_targets),
            typed=overrides,
        )
        return cls(folder, settings, machine)

    def network(self, weights: str = "best") -> Network:
        """Build the network for the data that the run was trained on, with its best or its last weights.

        Raises
        ------
        UsageError
            Where the weights are missing or damaged, or do not fit.
        """
        from trainer.assembly import Scales, build_network, read_weights

        if weights not in WEIGHTS:
            raise UsageError(f"--weights={weights} is not known: {nearest(weights, WEIGHTS)}")
        path = self.folder / "checkpoints" / f"{weights}.safetensors"
        saved = read_weights(path)
        network = build_network(self.settings, Facts.read(self.folder), Scales.saved(saved))
        try:
            network.load_weights(saved)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        return network


def read_configuration(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Read the configuration of a run from its folder, and change it by overrides.

    Which functions it may name is not for the folder to say: `allowed_targets` holds what the overrides give.

    Raises
    ------
    UsageError
        Where the folder is none of a run, its configuration is damaged, or an override does not fit.
    """
    path = folder / ".hydra" / "config.yaml"
    if not path.is_file():
        raise UsageError(f"{folder} is not the folder of a run: it has no .hydra/config.yaml")
    saved = _read_yaml(path)
    if not isinstance(saved, DictConfig):
        raise UsageError(f"{path} is damaged: it holds no mapping")
    check_interpolations(OmegaConf.to_container(saved, resolve=False), str(path))
    config.register()
    try:
        composed = OmegaConf.merge(OmegaConf.structured(config.Config), saved)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0][:LONGEST_REASON]
        raise UsageError(f"{path} is damaged or of another version: {reason}") from error
    assert isinstance(composed, DictConfig)
    composed.allowed_targets = []
    for override in OverridesParser.create().parse_overrides(rewritten(overrides)):
        _apply(composed, override)
    return composed


def given_overrides(folder: Path) -> list[str]:
    """Return the overrides that a run was started with, and those of its resumptions."""
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return []
    saved = _read_yaml(path)
    if not isinstance(saved, ListConfig):
        raise UsageError(f"{path} is damaged: it holds no list")
    return [str(item) for item in saved]


def save_configuration(folder: Path, composed: DictConfig, overrides: Sequence[str]) -> None:
    """Keep the configuration that a resumed run has now."""
    write_atomically(folder / ".hydra" / "config.yaml", OmegaConf.to_yaml(composed).encode())
    listed = OmegaConf.to_yaml(OmegaConf.create(list(overrides)))
    write_atomically(folder / ".hydra" / "overrides.yaml", listed.encode())


def log_to(folder: Path) -> None:
    """Send log records where a run's own go: to the screen, and to the end of its train.log."""
    file = config.folder() / "hydra" / "job_logging" / "trainer.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["handlers"]["file"]["filename"] = str(folder / "train.log")
    logging.config.dictConfig(settings)


def _read_yaml(path: Path) -> Any:
    text = checked_text(path)
    try:
        return OmegaConf.create(text)
    except (yaml.YAMLError, OmegaConfBaseException, RecursionError, ValueError) as error:
        raise damaged(path, error) from error


def _apply(composed: DictConfig, override: Override) -> None:
    """Change a configuration as Hydra would have: a group's choice, or a key's value."""
    key, value = override.key_or_group, override.value()
    if (config.folder() / key).is_dir():
        _choose(composed, key, override)
        return
    with open_dict(composed):
        if not override.is_add() and OmegaConf.select(composed, key, default=_MISSING) is _MISSING:
            parent = OmegaConf.select(composed, key.rpartition(".")[0]) if "." in key else composed
            known = [str(name) for name in parent if name != "_target_"] if parent is not None else []
            raise UsageError(f"{key} is not a key: {nearest(key.rpartition('.')[2], known)}")
        OmegaConf.update(composed, key, value)


def _choose(composed: DictConfig, group: str, override: Override) -> None:
    """Put a group's file where Hydra would have: a schedule's belongs to one hyperparameter of several."""
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        if override.package is None and group != "schedule":
            composed[group] = compose("config", overrides=[f"{group}={override.value()}"])[group]
            return
        alone = compose(None, overrides=[f"+{(override.input_line or '').lstrip('+')}"])
    with open_dict(composed):
        for path in _places(alone):
            OmegaConf.update(composed, path, OmegaConf.select(alone, path), merge=False)


def _places(node: DictConfig, path: str = "") -> Iterator[str]:
    """Yield the paths of the components below a node."""
    for key, below in node.items_ex(resolve=False):
        where = f"{path}.{key!s}" if path else str(key)
        if isinstance(below, DictConfig) and "_target_" not in below:
            yield from _places(below, where)
        else:
            yield where


_MISSING: Any = object()
