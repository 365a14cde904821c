"""The configuration: every key, its type, its default, its range, and the way from YAML to settings.

The program's own keys stand in dataclasses here, which Hydra's ConfigStore holds. A node with a `_target_`
(a rule, a network, a data source, …) is checked against the signature of the function that it names, so that
a user's own function is checked as ours are. Ranges go by name: a `rho` means the same wherever it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from trainer.components import Component, locate
from trainer.errors import UsageError, nearest
from trainer.ranges import refuse_out_of_range
from trainer.settings import Device, ScheduleSettings, Settings, Training
from trainer.signatures import GIVEN_TO_MODELS, accepted, check_arguments


@dataclass
class Config:
    """The whole configuration; each `Any` is a node with a `_target_`, or named nodes with one each."""

    data: Any = MISSING
    model: Any = MISSING
    objective: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    wrapper: Any = None
    clipping: Any = None
    constraint: Any = None
    callbacks: Any = None
    logger: Any = None
    training: Training = field(default_factory=Training)
    device: Device = field(default_factory=Device)


MODES = ("min", "max")
FEEDING = ("auto", "arrays", "resident")
ABOUT_DATA = ("normalization", "target_normalization", "augmentation")
AUGMENTED = ("inputs", "generator")
ABOUT_WEIGHTS = ("weights", "weights_match")


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
    for key, allowed in (("mode", MODES), ("feeding", FEEDING)):
        value = plain["training"][key]
        if value not in allowed:
            raise UsageError(f"training.{key}={value} is not known: {nearest(value, allowed)}")
    device: dict[str, Any] = plain["device"]
    return device


def interpret(config: DictConfig, overrides: Sequence[str] = ()) -> Settings:
    """Turn a composed configuration into settings; Theano must be ready, since targets are imported.

    Parameters
    ----------
    config : DictConfig
        What Hydra composed from `conf/` and the command line.
    overrides : sequence of str
        What the person gave on the command line. A key that only stands in a file is left aside where another
        `_target_` was given that does not take it; a key that the person gave is not.

    Raises
    ------
    UsageError
        For a target that cannot be found, and for an argument that it does not take, that it lacks, or that
        has the wrong type.
    """
    plain = _plain(config)
    reader = _Reader(overrides)
    about_data = {key: plain["data"].pop(key) for key in ABOUT_DATA if key in plain["data"]}
    about_weights = {key: plain["model"].pop(key) for key in ABOUT_WEIGHTS if key in plain["model"]}
    augmentation = reader.named(about_data.pop("augmentation", None), "data.augmentation", AUGMENTED)
    return Settings(
        data=reader.required(plain, "data"),
        model=reader.required(plain, "model", named=GIVEN_TO_MODELS),
        objective=reader.required(plain, "objective"),
        rule=reader.required(plain, "optimizer", ("loss_or_grads", "params")),
        clipping=reader.optional(plain, "clipping", ("gradients",)),
        wrapper=reader.optional(plain, "wrapper", ("updates", "params")),
        constraint=reader.optional(plain, "constraint", ("updates", "params")),
        schedules=dict(reader.schedules(plain["schedule"] or {}, "schedule")),
        callbacks=dict(reader.named(plain["callbacks"], "callbacks")),
        loggers=dict(reader.named(plain["logger"], "logger")),
        training=Training(**plain["training"]),
        augmentation=[component for _, component in augmentation],
        **about_data,
        **about_weights,
    )


def _plain(config: DictConfig) -> dict[str, Any]:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError(f"{missing[0]} has no value: give one, as in {missing[0]}=...")
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


class _Reader:
    """Makes components of nodes, knowing which keys the person gave."""

    def __init__(self, overrides: Sequence[str]) -> None:
        self.given = {override.split("=", 1)[0].lstrip("+") for override in overrides}

    def required(
        self, config: Mapping[str, Any], key: str, provided: Sequence[str] = (), named: Collection[str] = ()
    ) -> Component:
        component = self.optional(config, key, provided, named)
        if component is None:
            raise UsageError(f"{key} is empty: choose one by {key}=..., or a function by {key}._target_=...")
        return component

    def optional(
        self, config: Mapping[str, Any], key: str, provided: Sequence[str] = (), named: Collection[str] = ()
    ) -> Component | None:
        node = config.get(key)
        if node is None or (isinstance(node, Mapping) and node.get("_target_") is None):
            return None
        return self.component(node, key, provided, named)

    def named(
        self, nodes: Mapping[str, Any] | None, key: str, provided: Sequence[str] = ()
    ) -> Iterator[tuple[str, Component]]:
        """Yield the components of a group of named nodes, leaving out those that were set to null."""
        for name, node in (nodes or {}).items():
            if node is not None:
                yield name, self.component(node, f"{key}.{name}", provided)

    def schedules(self, node: Mapping[str, Any], key: str) -> Iterator[tuple[str, ScheduleSettings]]:
        """Yield the schedules below a node by the name of what they schedule, `wrapper.momentum` for one."""
        if "_target_" in node:
            raise UsageError(
                f"{key}._target_ schedules nothing: begin the schedule's file with the line "
                "'# @package schedule.learning_rate', or choose it by schedule@schedule.NAME=..."
            )
        for name, below in node.items():
            where = f"{key}.{name}"
            if not isinstance(below, Mapping):
                raise UsageError(f"{where}={below} is no schedule: choose one by schedule@{where}=...")
            if "_target_" not in below:
                yield from self.schedules(below, where)
                continue
            arguments = dict(below)
            unit = arguments.pop("unit", "run")
            component = self.component(arguments, where, ("initial",))
            yield where.removeprefix("schedule."), ScheduleSettings(component, unit)

    def component(
        self, node: Any, key: str, provided: Sequence[str] = (), named: Collection[str] = ()
    ) -> Component:
        if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
            raise UsageError(f"{key}={node} names no function: give one by {key}._target_=module.function")
        target: str = node["_target_"]
        function = locate(target, f"{key}._target_")
        arguments = {name: value for name, value in node.items() if name != "_target_"}
        allowed = accepted(function, len(provided), named)
        if allowed is not None and f"{key}._target_" in self.given:
            arguments = {
                name: value
                for name, value in arguments.items()
                if name in allowed or f"{key}.{name}" in self.given
            }
        check_arguments(function, arguments, key, provided=len(provided), named=named, called=target)
        return Component(function, arguments, key)
