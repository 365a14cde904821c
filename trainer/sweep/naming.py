"""What a job's folder is called: its number, and what was varied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

RESOLVER = "trainer.job_folder"
LONGEST = 120
_EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.=@+-]+")


def job_folder(number: int, overrides: Iterable[str], fixed: Iterable[str] = ()) -> str:
    """Return a name that is safe for a file: the number, then what was varied, cut to 120 characters.

    Where whole keys do not fit, their last parts stand for them. The number makes it unique.

    Parameters
    ----------
    number : int
        The job's number.
    overrides : iterable of str
        The job's overrides, in the person's order.
    fixed : iterable of str
        Keys that all jobs share, and that are left out.

    >>> job_folder(3, ["optimizer.learning_rate=0.1", "training.epochs=9", "training.seed=2"],
    ...            fixed=["training.epochs"])
    '3_optimizer.learning_rate=0.1,training.seed=2'
    >>> job_folder(0, ["model.hidden=[64,32]", "+data.name='a / b'", "optimizer.rho=0.9123456789"])
    '0_model.hidden=64-32,data.name=a-b,optimizer.rho=0.912346'
    """
    left_out = set(fixed)
    pairs = [override.lstrip("+~").partition("=")[::2] for override in overrides]
    varied = [(key, _short(value)) for key, value in pairs if key not in left_out]
    name = _joined(number, varied)
    if len(name) > LONGEST:
        name = _joined(number, [(key.rpartition(".")[2], value) for key, value in varied])
    return name[:LONGEST].rstrip(",.=-_")


def register() -> None:
    """Give OmegaConf the resolver that `hydra.sweep.subdir` names; a worker needs it as well."""
    OmegaConf.register_new_resolver(RESOLVER, job_folder, replace=True)


class JobNames(Callback):
    """Hydra calls this at a multirun's start: what all jobs share stays out of their folders' names."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Name the shared keys where each job's configuration is composed from."""
        shared = fixed_keys(list(config.hydra.overrides.task))
        known = [key for key in config.hydra.job.config.override_dirname.exclude_keys if key not in shared]
        listed = ",".join(f"'{key}'" for key in [*known, *shared])
        with read_write(config), open_dict(config):
            config.hydra.overrides.hydra.append(f"{_EXCLUDED}=[{listed}]")


def fixed_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys of the overrides of a multirun that have one value.

    >>> fixed_keys(["training.epochs=3", "+model.width=7", "optimizer=sgd,adam", "training.seed=range(3)"])
    ['training.epochs', 'model.width']
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    last = {each.get_key_element().lstrip("+~"): each for each in parsed}
    return [key for key, each in last.items() if not each.is_sweep_override()]


def _joined(number: int, varied: Iterable[tuple[str, str]]) -> str:
    words = ",".join(f"{_safe(key)}={value}" if value else _safe(key) for key, value in varied)
    return f"{number}_{words}" if words else str(number)


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-")


def _short(value: str) -> str:
    """Return a value without what a file's name should not have; numbers with six digits."""
    bare = value.strip("'\"")
    try:
        number = float(bare)
    except ValueError:
        return _UNSAFE.sub("-", bare).strip("-,")
    return bare if len(bare) <= 8 else f"{number:.6g}"
