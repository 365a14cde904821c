"""From the nodes of a configuration to components: targets, chains, schedules, parameter groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from trainer.components import Component, locate
from trainer.errors import UsageError, nearest
from trainer.settings import GroupSettings, ScheduleSettings
from trainer.signatures import accepted, check_arguments, provided_count

RULE = ("loss_or_grads", "params")
ABOUT_SCHEDULES = ("unit", "warmup", "warmup_start", "optional")
ABOUT_GROUPS = ("match", "name", "freeze", "schedule")


def keys_of(overrides: Sequence[str]) -> set[str]:
    """Return the keys that overrides set."""
    return {override.split("=", 1)[0].lstrip("+") for override in overrides}


class NodeReader:
    """Makes components of nodes, knowing which keys the person gave.

    Parameters
    ----------
    overrides : sequence of str
        What was given on the command line.
    shipped : Path
        The folder of the program's groups, whose files a nested `_target_` without a dot names.
    trusted : sequence of str, optional
        The packages, besides `trainer`, whose functions a configuration may name that was found in a file;
        None where the person wrote the configuration now.
    typed : sequence of str
        Those of the overrides that were given now, which are trusted as they are.
    """

    def __init__(
        self,
        overrides: Sequence[str],
        shipped: Path,
        trusted: Sequence[str] | None = None,
        typed: Sequence[str] = (),
    ) -> None:
        self.given = keys_of(overrides)
        self.shipped = shipped
        self.trusted = trusted
        self.typed = keys_of(typed)

    def required(
        self, config: Mapping[str, Any], key: str, provided: Sequence[str] = (), named: Collection[str] = ()
    ) -> Component:
        """Return the component of a key that must name one."""
        component = self.optional(config, key, provided, named)
        if component is None:
            raise UsageError(f"{key} is empty: choose one by {key}=..., or a function by {key}._target_=...")
        return component

    def optional(
        self, config: Mapping[str, Any], key: str, provided: Sequence[str] = (), named: Collection[str] = ()
    ) -> Component | None:
        """Return the component of a key, or None where it names none."""
        node = config.get(key)
        if node is None or (isinstance(node, Mapping) and node.get("_target_") is None):
            return None
        return self.component(node, key, provided, named)

    def named(
        self,
        nodes: Mapping[str, Any] | None,
        key: str,
        provided: Sequence[str] = (),
        also: str | None = None,
    ) -> Iterator[tuple[str, Component]]:
        """Yield the components of a group of named nodes, leaving out those that were set to null."""
        if not isinstance(nodes or {}, Mapping):
            raise UsageError(f"{key}={nodes} is no mapping: give each a name, as in {key}.NAME._target_=...")
        for name, node in (nodes or {}).items():
            if node is not None:
                yield name, self.component(node, f"{key}.{name}", provided, also=also)

    def chain(
        self, config: Mapping[str, Any], key: str, provided: Sequence[str], also: str | None = None
    ) -> list[Component]:
        """Return what is applied in order: one node with a `_target_`, or named nodes with one each.

        A link's `_target_` without a dot names a file of the group; a link that has none is left out.
        """
        node = config.get(key)
        if node is None:
            return []
        if not isinstance(node, Mapping) or node.get("_target_") is not None:
            return [self.component(node, key, provided, also=also)]
        links = {}
        for name, below in node.items():
            if isinstance(below, Mapping) and "_target_" in below:
                full = self._with_file(key, below, f"{key}.{name}._target_", config)
                links[name] = full if full["_target_"] is not None else None
            elif "_target_" not in node:
                links[name] = below
            # Otherwise it belongs to another choice than none: an experiment gave it.
        return [component for _, component in self.named(links, key, provided, also)]

    def schedules(self, node: Mapping[str, Any], key: str) -> Iterator[tuple[str, ScheduleSettings]]:
        """Yield the schedules below a node by the name of what they schedule, `wrapper.momentum` for one."""
        if not isinstance(node, Mapping):
            raise UsageError(f"{key}={node} is no mapping: give schedules by name, as in schedule=cosine")
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
            yield where.removeprefix("schedule."), self._schedule(below, where)

    def groups(self, nodes: Any) -> list[GroupSettings]:
        """Return the parameter groups of `optimizer.groups`."""
        if nodes is None:
            return []
        if not isinstance(nodes, list):
            raise UsageError(
                f"optimizer.groups={nodes} is no list: give one, as in "
                'optimizer.groups=[{match: "*.b", weight_decay: 0}]'
            )
        groups = [
            self._group(node, f"optimizer.groups[{position}]", position + 1)
            for position, node in enumerate(nodes)
        ]
        names = [group.name for group in groups]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"optimizer.groups: the name {name} stands there twice; give each its own")
        return groups

    def component(
        self,
        node: Any,
        key: str,
        provided: Sequence[str] = (),
        named: Collection[str] = (),
        also: str | None = None,
    ) -> Component:
        """Return the component of a node, its arguments checked.

        Parameters
        ----------
        node : mapping
            With `_target_`, and the arguments.
        key : str
            Where it stands.
        provided, also
            The arguments that the program gives by place, as for `trainer.signatures.provided_count`.
        named : collection of str
            Those that it gives by name.
        """
        if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
            raise UsageError(f"{key}={node} names no function: give one by {key}._target_=module.function")
        target: str = node["_target_"]
        function = self.function(target, f"{key}._target_")
        count = provided_count(function, provided, also)
        arguments = {name: value for name, value in node.items() if name != "_target_"}
        allowed = accepted(function, count, named)
        if allowed is not None and f"{key}._target_" in self.given:
            arguments = {
                name: value
                for name, value in arguments.items()
                if name in allowed or f"{key}.{name}" in self.given
            }
        check_arguments(function, arguments, key, provided=count, named=named, called=target)
        return Component(function, arguments, key)

    def function(self, target: str, key: str) -> Any:
        """Return what a target names.

        Raises
        ------
        UsageError
            Where there is no such thing, or it is not trusted.
        """
        if self.trusted is None or key in self.typed:
            return locate(target, key)
        package = target.partition(".")[0]
        found = locate(target, key) if package in ("trainer", *self.trusted) else None
        # What a module of ours has imported from elsewhere is not ours.
        if found is None or (package == "trainer" and not str(found.__module__).startswith("trainer.")):
            raise UsageError(
                f"{key}={target} comes from the folder of a run and is not of this program: if you trust it, "
                f"allow it by allowed_targets=[{package}]"
            )
        return found

    def _schedule(self, node: Mapping[str, Any], key: str) -> ScheduleSettings:
        arguments = {name: self._nested(value, f"{key}.{name}") for name, value in node.items()}
        common = {name: arguments.pop(name) for name in ABOUT_SCHEDULES if name in arguments}
        component = self.component(arguments, key, ("initial",))
        return ScheduleSettings(component, common.pop("unit", "run"), **common)

    def _nested(self, value: Any, key: str) -> Any:
        """Replace the schedules within a schedule's arguments by components."""
        if isinstance(value, list):
            return [self._nested(item, f"{key}[{position}]") for position, item in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        if "_target_" not in value:
            short = value.get("schedule")
            named = {**value, "schedule": {"_target_": short}} if isinstance(short, str) else value
            return {name: self._nested(below, f"{key}.{name}") for name, below in named.items()}
        for name in ABOUT_SCHEDULES:
            if name in value:
                raise UsageError(
                    f"{key}.{name}: a part has no {name} of its own; give it to the whole schedule"
                )
        full = self._with_file("schedule", value, f"{key}._target_")
        inner = {name: item for name, item in full.items() if name not in ABOUT_SCHEDULES}
        return self._schedule(inner, key).component

    def _with_file(
        self, group: str, node: Mapping[str, Any], key: str, whole: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Put the values of the group's file below those of a node whose `_target_` is the file's name.

        Values that stand for others are looked up in the whole configuration.
        """
        target = node["_target_"]
        if not isinstance(target, str) or "." in target:
            return dict(node)
        choices = [path.stem for path in (self.shipped / group).glob("*.yaml")]
        if target not in choices:
            raise UsageError(f"{key}={target} is not known: {nearest(target, choices)}")
        path = self.shipped / group / f"{target}.yaml"
        loaded = OmegaConf.create({**(whole or {}), "file": OmegaConf.load(path)}).file
        if "_target_" not in loaded:
            named = f"trainer.{'schedules' if group == 'schedule' else 'updates'}.{target}"
            raise UsageError(
                f"{key}={target} is a file of several hyperparameters: for this one, give _target_: {named}"
            )
        own = OmegaConf.to_container(loaded, resolve=True)
        assert isinstance(own, dict)
        return {**own, **node, "_target_": own["_target_"]}

    def _group(self, node: Any, key: str, number: int) -> GroupSettings:
        if not isinstance(node, Mapping) or "match" not in node:
            raise UsageError(f'{key} has no match: give the pattern of its parameters, as in match: "*.b"')
        match = node["match"] if isinstance(node["match"], list) else [node["match"]]
        if not match or not all(isinstance(pattern, str) for pattern in match):
            raise UsageError(f'{key}.match={node["match"]} is no pattern: give one or a list, as in "*.b"')
        name, freeze = node.get("name", f"group_{number}"), node.get("freeze", False)
        if not isinstance(name, str) or not name.isidentifier():
            raise UsageError(f"{key}.name={name} is no name: give letters, digits and underscores")
        if not isinstance(freeze, bool):
            raise UsageError(f"{key}.freeze={freeze} has the wrong type: give true or false")
        own = {child: value for child, value in node.items() if child not in ABOUT_GROUPS}
        rule = None
        if "_target_" in own:
            full = self._with_file("optimizer", own, f"{key}._target_")
            own = {child: full.pop(child) for child in list(full) if child.endswith("_scale")}
            rule = self.component(full, key, RULE)
        for child, value in own.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"{key}.{child}={value} is not a number: give the group's own value")
        schedules = dict(self._group_schedules(node.get("schedule") or {}, f"{key}.schedule"))
        group = GroupSettings(name, tuple(match), own, rule, schedules, freeze)
        changes = [*own, *(["_target_"] if rule is not None else []), *(["schedule"] if schedules else [])]
        if not freeze and not changes:
            raise UsageError(
                f"{key} changes nothing: give it hyperparameters (learning_rate_scale: 0.1), a schedule, "
                "another rule by _target_, or freeze: true"
            )
        if freeze and changes:
            raise UsageError(
                f"{key}.freeze=true leaves nothing for {changes[0]} to do: leave out one of them"
            )
        return group

    def _group_schedules(self, node: Any, key: str) -> Iterator[tuple[str, ScheduleSettings]]:
        if not isinstance(node, Mapping):
            raise UsageError(
                f"{key}={node} is no mapping: give schedules by name, as in {{learning_rate: cosine}}"
            )
        for name, below in node.items():
            named = {"_target_": below} if isinstance(below, str) else below
            if not isinstance(named, Mapping) or "_target_" not in named:
                raise UsageError(f"{key}.{name}={below} is no schedule: name one, as in {name}: cosine")
            full = self._with_file("schedule", named, f"{key}.{name}._target_")
            yield name, self._schedule(full, f"{key}.{name}")
