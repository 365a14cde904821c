"""What makes two runs of one process need different compiled functions, and what they can share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.assembly import Scales
from trainer.canonical import canonical
from trainer.components import Component
from trainer.data.facts import Facts
from trainer.objectives import Objective
from trainer.optimizer.binding import is_number, structural_arguments
from trainer.optimizer.groups import DECAY, RULE_ARGUMENTS
from trainer.settings import GroupSettings, Settings
from trainer.signatures import accepted

GraphKey = Mapping[str, Hashable]

# What parameters and random streams begin with, by the names that this program's own functions have for it.
BEGINNINGS = ("initialization", "recurrent_initialization", "forget_bias", "seed")
NUMBER = "a number"


def graph_key(
    settings: Settings, facts: Facts, scales: Scales, objective: Objective, *, resident: bool
) -> GraphKey:
    """Return what shapes a run's compiled functions, by the key that a person knows it by.

    Runs whose keys are equal, in one process, execute the same functions; whatever else is different is set
    in shared variables, or lies outside of the functions. This is the one place that says so.

    ========================= ===================================================================
    in the key                why
    ========================= ===================================================================
    `model` and its arguments they choose layers, sizes and constants; but not what parameters begin
                              with, where the function is this program's own, whose arguments are known
    shape and type of inputs, the types and shapes of the first and the last layer; of texts, the
    number of outputs, tokens number of tokens
    normalization             there is a layer or none, with one number or one a feature; the
                              numbers themselves are buffers
    `objective`, its          they are constants of the loss, and so is what the objective found in
    arguments and attributes  the data: kind of the targets, number of classes, class weights
    `optimizer`, `gradient`,  the functions, in their order and by the names of their hyperparameters.
    `clipping`, `wrapper`,    Of the arguments, each number is a shared scalar, so that its value does not
    `constraint`, `averaging` count; one that the function annotates as `int`, and whatever is no number
                              (a pattern, a truth value, none), shapes the expressions
    `optimizer.weight_decay`  whether there is a decay: one of 0 is another graph than none; and with it,
                              the pattern of those that decay
    `optimizer.groups`        their patterns, rules, and which hyperparameters they give
    `training.accumulation`   whether batches are gathered; how many is up to the loop
    `training.feeding`        whether the step takes rows, or places of a part that is resident
    ========================= ===================================================================

    Everything else shares: seeds, schedules and warm-ups (values of shared scalars; the clock that averages
    read is one too), epochs, batch sizes and the order of the data (nothing is compiled for a size),
    augmentation, the data themselves, weights to start from, callbacks, loggers, checkpoints,
    `training.non_finite` (the check is the same, what follows from it is the loop's). The device, its
    precision and the compiler cannot change within a process. What a user's function builds into its
    expressions on its own account, from a file or the seed, `trainer.likeness` finds.
    """
    return {
        **_model(settings.model),
        "data (the shape of an input)": facts.input_shape,
        "data (the type of inputs)": facts.input_dtype,
        "data (the number of outputs)": facts.outputs,
        "data (the number of tokens)": None if facts.vocabulary is None else len(facts.vocabulary),
        "data.normalization": _shape_of(scales.inputs),
        "data.target_normalization": _shape_of(scales.targets),
        **_constants(settings.objective, "objective"),
        "objective (by what the data holds)": canonical(vars(objective)),
        **_rule(settings.rule, "optimizer"),
        **_chain(settings.gradient, "gradient"),
        **_chain(settings.clipping, "clipping"),
        **_chain(settings.wrapper, "wrapper"),
        **_chain(settings.constraint, "constraint"),
        **_chain([settings.averaging] if settings.averaging else [], "averaging"),
        "optimizer.weight_decay": None if settings.weight_decay is None else NUMBER,
        "optimizer.weight_decay_match": settings.weight_decay_match if _decays(settings) else None,
        "optimizer.groups": tuple(_group(group, settings.rule, settings.groups) for group in settings.groups),
        "training.accumulation": "several batches" if settings.training.accumulation > 1 else "one batch",
        "training.feeding": "resident" if resident else "arrays",
    }


def differences(key: GraphKey, other: GraphKey) -> list[str]:
    """Return the names under which two keys differ, those of the first one first."""
    missing = object()
    names = dict.fromkeys((*key, *other))
    return [name for name in names if key.get(name, missing) != other.get(name, missing)]


def _model(model: Component) -> dict[str, Hashable]:
    return _constants(Component(model.function, _shaping(model)), "model")


def _shaping(component: Component) -> Mapping[str, Any]:
    """Return the arguments but for those of which it is known that they only say what is begun with."""
    known = str(getattr(component.function, "__module__", "")).startswith("trainer.")
    return dict(_without_beginnings(component.arguments)) if known else component.arguments


def _without_beginnings(value: Any) -> Any:
    """Leave out what parameters begin with, but not from a layer with a dotted path, which is a user's."""
    if isinstance(value, Mapping):
        return {
            name: below if "." in str(name) else _without_beginnings(below)
            for name, below in value.items()
            if name not in BEGINNINGS
        }
    if isinstance(value, (list, tuple)):
        return [_without_beginnings(element) for element in value]
    return value


def _constants(component: Component, name: str) -> dict[str, Hashable]:
    arguments = {f"{name}.{argument}": canonical(value) for argument, value in component.arguments.items()}
    return {name: canonical(component.function), **arguments}


def _chain(components: Sequence[Component], name: str) -> dict[str, Hashable]:
    found: dict[str, Hashable] = {name: tuple(component.key for component in components)}
    for number, component in enumerate(components, 1):
        found.update(_rule(component, component.key or f"{name}.{number}"))
    return found


def _rule(component: Component, name: str) -> dict[str, Hashable]:
    """Return a function of the optimizer, and its arguments without the values of hyperparameters."""
    structural = structural_arguments(component)
    arguments = {
        f"{name}.{argument}": canonical(value) if argument in structural or not is_number(value) else NUMBER
        for argument, value in _shaping(component).items()
    }
    return {f"{name}._target_": canonical(component.function), **arguments}


def _decays(settings: Settings) -> bool:
    """Return whether there is a decay whose parameters are chosen by a pattern."""
    rules = [settings.rule, *(group.rule for group in settings.groups if group.rule is not None)]
    taken = (accepted(rule.function, RULE_ARGUMENTS) or rule.arguments for rule in rules)
    return settings.weight_decay is not None or any(DECAY in names for names in taken)


def _group(group: GroupSettings, rule: Component, groups: Sequence[GroupSettings]) -> Hashable:
    rules = [rule, *(other.rule for other in groups if other.rule is not None)]
    structural = set().union(*(structural_arguments(each) for each in rules))
    values = {name: value if name in structural else NUMBER for name, value in group.values.items()}
    own = None if group.rule is None else tuple(_rule(group.rule, "rule").items())
    return group.name, group.match, canonical(values), own, tuple(sorted(group.schedules)), group.freeze


def _shape_of(normalization: Any) -> Hashable:
    return None if normalization is None else np.shape(normalization.offset)
