"""Parameter groups: which rule, and which of its numbers, each parameter is trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trainer.components import Component
from trainer.errors import UsageError, nearest
from trainer.hyperparameters import Hyperparameters
from trainer.optimizer.binding import bind, called, is_number, structural_arguments
from trainer.settings import GroupSettings
from trainer.signatures import accepted
from trainer.updates import matching

DECAY = "weight_decay"
SCALE = "_scale"
RULE_ARGUMENTS = 2


@dataclass(frozen=True)
class Bucket:
    """Parameters that one call of a rule serves.

    Attributes
    ----------
    rule : Component
        With the hyperparameters of these parameters, shared scalars or products of them.
    label : str
        The groups that they belong to, for the names of states; empty for those of none.
    parameters : list of shared variables
        In the order of the network.
    decays : list
        For each, the decay that must be put around the rule, a symbolic scalar, or None.
    """

    rule: Component
    label: str
    parameters: list[Any] = field(default_factory=list)
    decays: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class _Rule:
    component: Component

    @property
    def names(self) -> set[str]:
        """What a group may give: every argument, and the decay around the rule."""
        taken = accepted(self.component.function, RULE_ARGUMENTS) or {}
        return {*taken, *self.component.arguments, DECAY}

    @property
    def decays(self) -> bool:
        return DECAY in (accepted(self.component.function, RULE_ARGUMENTS) or self.component.arguments)

    def value_of(self, name: str) -> Any:
        return self.component.arguments.get(name)


@dataclass
class _Trained:
    """A parameter, its rule, and what groups say of its hyperparameters."""

    parameter: Any
    rule: _Rule
    values: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, list[Any]] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)

    def resolved(self, name: str, otherwise: Any) -> tuple[Any, ...]:
        """Return a value and the factors that it is to be multiplied by."""
        value = self.values.get(name, otherwise)
        return (value, *self.scales.get(name, ())) if value is not None else (None,)


def trained(parameters: Sequence[Any], groups: Sequence[GroupSettings] = ()) -> list[Any]:
    """Return the parameters that no group freezes, in their order.

    Raises
    ------
    UsageError
        For a pattern that fits no parameter, and where all are frozen.
    """
    frozen = {parameter for group in groups if group.freeze for parameter in _members(group, parameters)}
    left = [parameter for parameter in parameters if parameter not in frozen]
    if frozen and not left:
        raise UsageError("optimizer.groups freeze all parameters: leave at least one to train")
    return left


def resolve(
    parameters: Sequence[Any],
    rule: Component,
    groups: Sequence[GroupSettings],
    weight_decay: float | None,
    weight_decay_match: str,
    hyperparameters: Hyperparameters,
) -> list[Bucket]:
    """Return the calls of rules that serve all parameters but the frozen ones.

    All groups that fit a parameter apply to it, later ones over earlier ones; their factors multiply. A
    group's rule does away with the values of earlier groups, and keeps their factors.

    Parameters
    ----------
    parameters : sequence of shared variables
        All of the network.
    rule, groups, weight_decay, weight_decay_match
        As for `trainer.optimizer.build_optimizer`.
    hyperparameters : Hyperparameters
        Receives the rule's numbers under their own names, and a group's as ``groups.NAME.HYPERPARAMETER``.

    Raises
    ------
    UsageError
        For a pattern that fits no parameter, and for a value that its rule does not take.
    """
    base, decay = _base(rule, weight_decay, hyperparameters)
    everyone = {parameter: _Trained(parameter, base) for parameter in parameters}
    for group in groups:
        _apply(group, [everyone[member] for member in _members(group, parameters)], decay, hyperparameters)
    decaying = set(_matched(weight_decay_match, parameters, "optimizer.weight_decay_match"))
    buckets: dict[Any, Bucket] = {}
    for parameter in trained(parameters, groups):
        _assign(everyone[parameter], decay, parameter in decaying, buckets)
    return list(buckets.values())


def _base(rule: Component, weight_decay: float | None, hyperparameters: Hyperparameters) -> tuple[_Rule, Any]:
    """Return the rule of all, its numbers bound, and the shared scalar of its weight decay, if any."""
    own = DECAY in (accepted(rule.function, RULE_ARGUMENTS) or rule.arguments)
    if own and weight_decay is not None:
        rule = replace(rule, arguments={**rule.arguments, DECAY: weight_decay})
    bound = _Rule(bind(rule, "", RULE_ARGUMENTS, hyperparameters))
    if own:
        return bound, bound.value_of(DECAY)
    return bound, None if weight_decay is None else hyperparameters.add(DECAY, weight_decay)


def _apply(
    group: GroupSettings, members: list[_Trained], decay: Any, hyperparameters: Hyperparameters
) -> None:
    prefix = f"groups.{group.name}"
    if group.rule is not None:
        rule = _Rule(bind(group.rule, prefix, RULE_ARGUMENTS, hyperparameters))
        for member in members:
            member.rule, member.values = rule, {}
    values, factors = _sorted(group, members)
    for name in group.schedules:
        if name not in (*group.values, *values) and group.rule is None:
            values[name] = _configured(group, name, members, decay, hyperparameters)
    for name, value in values.items():
        structural = any(name in structural_arguments(member.rule.component) for member in members)
        own = int(value) if structural else hyperparameters.add(f"{prefix}.{name}", value)
        for member in members:
            member.values[name] = own
    for name, factor in factors.items():
        shared = hyperparameters.add(f"{prefix}.{name}{SCALE}", factor)
        for member in members:
            member.scales.setdefault(name, []).append(shared)
    for member in members:
        member.groups.append(group.name)


def _sorted(group: GroupSettings, members: Sequence[_Trained]) -> tuple[dict[str, float], dict[str, float]]:
    """Return a group's values and its factors, each by the hyperparameter that it is for."""
    names = set().union(*(member.rule.names for member in members))
    values, factors = {}, {}
    for name, value in group.values.items():
        if name in names:
            values[name] = value
        elif name.removesuffix(SCALE) in names and name.endswith(SCALE):
            factors[name.removesuffix(SCALE)] = value
        else:
            rules = " or ".join(dict.fromkeys(called(member.rule.component) for member in members))
            raise UsageError(
                f"optimizer.groups ({group.name}): {name} is not a hyperparameter of {rules}: "
                f"{nearest(name, {*names, *(known + SCALE for known in names)} if SCALE in name else names)}"
            )
    return values, factors


def _configured(
    group: GroupSettings,
    name: str,
    members: Sequence[_Trained],
    decay: Any,
    hyperparameters: Hyperparameters,
) -> float:
    """Return the value that a scheduled hyperparameter without one of its own has in a group's place."""
    first = members[0]
    shared = first.values.get(name, decay if name == DECAY else first.rule.value_of(name))
    configured = hyperparameters.values()
    if getattr(shared, "name", None) not in configured:
        known = [known for known, value in first.rule.component.arguments.items() if hasattr(value, "name")]
        raise UsageError(
            f"optimizer.groups ({group.name}): schedule.{name}: there is no hyperparameter {name}; "
            f"{nearest(name, known)}"
        )
    return configured[shared.name]


def _assign(member: _Trained, decay: Any, decaying: bool, buckets: dict[Any, Bucket]) -> None:
    """Put a parameter into the bucket of those that have the same rule with the same numbers."""
    rule = member.rule
    resolved = {name: member.resolved(name, value) for name, value in rule.component.arguments.items()}
    taken = accepted(rule.component.function, RULE_ARGUMENTS)
    for name in member.values:
        if taken is None or name in taken:
            resolved[name] = member.resolved(name, None)
    given = DECAY in member.values
    if rule.decays:
        if not decaying and not given:
            resolved[DECAY] = (0.0,)
        around: tuple[Any, ...] = (None,)
    else:
        resolved.pop(DECAY, None)
        around = member.resolved(DECAY, decay) if decaying or given else (None,)
    key = (id(rule), *((name, *map(_identity, parts)) for name, parts in resolved.items()))
    if key not in buckets:
        arguments = {name: _product(parts) for name, parts in resolved.items()}
        label = f"groups.{'+'.join(member.groups)}" if member.groups else ""
        buckets[key] = Bucket(replace(rule.component, arguments=arguments), label)
    buckets[key].parameters.append(member.parameter)
    buckets[key].decays.append(_product(around))


def _identity(part: Any) -> Any:
    return part if is_number(part) else id(part)


def _product(parts: Sequence[Any]) -> Any:
    product = parts[0]
    for factor in parts[1:]:
        product = product * factor
    return product


def _members(group: GroupSettings, parameters: Sequence[Any]) -> list[Any]:
    return _matched(group.match, parameters, f"optimizer.groups ({group.name}): match")


def _matched(match: str | Sequence[str], parameters: Sequence[Any], called: str) -> list[Any]:
    try:
        return matching(match, parameters, called)
    except ValueError as error:
        raise UsageError(str(error)) from error
