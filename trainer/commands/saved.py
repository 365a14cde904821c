"""A run that was trained, read back from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from trainer import config, runtime
from trainer.commands.overrides import rewrite
from trainer.data.facts import Facts
from trainer.errors import UsageError, nearest
from trainer.runtime import Runtime
from trainer.settings import Settings

if TYPE_CHECKING:
    from trainer.models import Network

WEIGHTS = ("best", "last")


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
        path = folder / ".hydra" / "config.yaml"
        if not path.is_file():
            raise UsageError(f"{folder} is not the folder of a run: it has no .hydra/config.yaml")
        composed = OmegaConf.load(path)
        assert isinstance(composed, DictConfig)
        config.register()
        for override in OverridesParser.create().parse_overrides([rewrite(item) for item in overrides]):
            _apply(composed, override)
        machine = runtime.prepare(**config.device_settings(composed))
        given = [*_given(folder), *overrides]
        return cls(folder, config.interpret(composed, given), machine)

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


def _given(folder: Path) -> list[str]:
    path = folder / ".hydra" / "overrides.yaml"
    return [str(item) for item in OmegaConf.load(path)] if path.is_file() else []


def _apply(composed: DictConfig, override: Override) -> None:
    """Change a configuration as Hydra would have: a group's choice, or a key's value."""
    key, value = override.key_or_group, override.value()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        if (config.folder() / key).is_dir():
            composed[key] = compose("config", overrides=[f"{key}={value}"])[key]
            return
    with open_dict(composed):
        if not override.is_add() and OmegaConf.select(composed, key, default=_MISSING) is _MISSING:
            parent = OmegaConf.select(composed, key.rpartition(".")[0]) if "." in key else composed
            known = [str(name) for name in parent if name != "_target_"] if parent is not None else []
            raise UsageError(f"{key} is not a key: {nearest(key.rpartition('.')[2], known)}")
        OmegaConf.update(composed, key, value)


_MISSING: Any = object()
