"""The configuration: every key, its type, its default, its range, and the way from YAML to settings.

The program's own keys stand in dataclasses here, which Hydra's ConfigStore holds. A node with a `_target_`
(a rule, a network, a data source, …) is checked against the signature of the function that it names, so that
a user's own function is checked as ours are. Ranges go by name: a `rho` means the same wherever it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Optional, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from trainer.components import Component
from trainer.errors import UsageError, nearest
from trainer.nodes import RULE, NodeReader
from trainer.ranges import refuse_out_of_range
from trainer.settings import Checkpoints, Device, FindLearningRate, Settings, Training
from trainer.signatures import GIVEN_TO_MODELS, accepted


@dataclass
class Config:
    """The whole configuration; each `Any` is a node with a `_target_`, or named nodes with one each."""

    data: Any = MISSING
    model: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    gradient: Any = None
    clipping: Any = None
    wrapper: Any = None
    constraint: Any = None
    averaging: Any = None
    callbacks: Any = None
    logger: Any = None
    training: Training = field(default_factory=Training)
    device: Device = field(default_factory=Device)
    task: str = "train"
    find_learning_rate: FindLearningRate = field(default_factory=FindLearningRate)
    resume: Optional[str] = None  # noqa: UP045 (OmegaConf reads this form alone)
    allowed_targets: list[str] = field(default_factory=list)


T = TypeVar("T")

CHOICES = {
    "training.mode": ("min", "max"),
    "training.feeding": ("auto", "arrays", "resident"),
    "training.non_finite": ("raise", "skip", "rollback"),
    "task": ("train", "find_learning_rate"),
}
CHAINS = ("gradient", "clipping", "wrapper", "constraint")
ABOUT_DATA = ("normalization", "target_normalization", "augmentation")
AUGMENTED = ("inputs", "generator")
ABOUT_WEIGHTS = ("weights", "weights_match")
ABOUT_PARAMETERS = ("groups", "weight_decay_match")


def register() -> None:
    """Put the schema into Hydra's ConfigStore."""
    ConfigStore.instance().store(name="schema", node=Config)


def folder() -> Path:
    """Return the folder of the program's YAML files: inside the package, or beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def device_settings(config: DictConfig) -> dict[str, Any]:
    """Return the arguments of `trainer.runtime.prepare`, after the checks that need no Theano.

    Raises
    ------
    UsageError
        For a value out of its range anywhere in the configuration.
    """
    plain = _plain(config)
    refuse_out_of_range(plain)
    for key, allowed in CHOICES.items():
        group, _, name = key.rpartition(".")
        value = plain[group][name] if group else plain[name]
        if value not in allowed:
            raise UsageError(f"{key}={value} is not known: {nearest(value, allowed)}")
    return asdict(_settings(Device, plain["device"], "device"))


def interpret(
    config: DictConfig,
    overrides: Sequence[str] = (),
    trusted: Sequence[str] | None = None,
    typed: Sequence[str] = (),
) -> Settings:
    """Turn a composed configuration into settings; Theano must be ready, since targets are imported.

    Parameters
    ----------
    config : DictConfig
        What Hydra composed from `conf/` and the command line.
    overrides : sequence of str
        What the person gave on the command line. A key that only stands in a file is left aside where another
        `_target_` was given that does not take it; a key that the person gave is not.
    trusted, typed : sequences of str
        For a configuration that comes from a run's folder: the packages whose functions it may name, and the
        overrides that were typed now (`trainer.nodes.NodeReader`).

    Raises
    ------
    UsageError
        For a target that cannot be found, and for an argument that it does not take, that it lacks, or that
        has the wrong type.
    """
    plain = _plain(config)
    reader = NodeReader(overrides, folder(), trusted, typed)
    for key in ("data", "model", "optimizer"):
        if not isinstance(plain[key], dict):
            raise UsageError(f"{key}={plain[key]} names nothing: choose one by {key}=...")
    about_data = _taken(plain["data"], ABOUT_DATA)
    about_weights = _taken(plain["model"], ABOUT_WEIGHTS)
    about_parameters = _taken(plain["optimizer"], ABOUT_PARAMETERS)
    augmentation = reader.named(about_data.pop("augmentation", None), "data.augmentation", AUGMENTED)
    checkpoints = _settings(Checkpoints, plain["training"]["checkpoints"], "training.checkpoints")
    rule, weight_decay = _rule(reader, plain)
    return Settings(
        data=reader.required(plain, "data"),
        model=reader.required(plain, "model", named=GIVEN_TO_MODELS),
        objective=reader.required(plain, "objective"),
        rule=rule,
        gradient=reader.chain(plain, "gradient", ("gradients",), also="params"),
        clipping=reader.chain(plain, "clipping", ("gradients",), also="params"),
        wrapper=reader.chain(plain, "wrapper", ("updates", "params")),
        constraint=reader.chain(plain, "constraint", ("updates", "params")),
        averaging=reader.optional(plain, "averaging", ("updates", "variables", "clock")),
        groups=reader.groups(about_parameters.pop("groups", [])),
        weight_decay=weight_decay,
        schedules=dict(reader.schedules(plain["schedule"] or {}, "schedule")),
        callbacks=dict(reader.named(plain["callbacks"], "callbacks")),
        loggers=dict(reader.named(plain["logger"], "logger")),
        training=_settings(Training, {**plain["training"], "checkpoints": checkpoints}, "training"),
        augmentation=[component for _, component in augmentation],
        overrides=list(overrides),
        task=plain["task"],
        find_learning_rate=_settings(FindLearningRate, plain["find_learning_rate"], "find_learning_rate"),
        **about_data,
        **about_weights,
        **about_parameters,
    )


def _settings(kind: type[T], node: Mapping[str, Any], key: str) -> T:
    """Return the settings of a node, none of whose keys may be unknown."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in node:
        if name not in known:
            raise UsageError(f"{key}.{name} is not a key: {nearest(name, known)}")
    return kind(**node)


def _taken(node: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Take what is common to a group's choices out of a node."""
    return {key: node.pop(key) for key in keys if key in node}


def _rule(reader: NodeReader, plain: dict[str, Any]) -> tuple[Component, float | None]:
    """Return the update rule, and the weight decay around it where it takes none itself."""
    node = plain["optimizer"]
    decay = node.pop("weight_decay", None)
    if "optimizer._target_" in reader.given and "optimizer.weight_decay" not in reader.given:
        decay = None
    if decay is not None:
        target = node.get("_target_")
        function = reader.function(target, "optimizer._target_") if isinstance(target, str) else None
        if function is not None and "weight_decay" in (accepted(function, len(RULE)) or ()):
            node["weight_decay"], decay = decay, None
    return reader.required(plain, "optimizer", RULE), decay


def _plain(config: DictConfig) -> dict[str, Any]:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError(f"{missing[0]} has no value: give one, as in {missing[0]}=...")
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]
