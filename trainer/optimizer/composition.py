"""From a loss to one dictionary of updates: gradients, clipping, rules, wrappers, constraints, averages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.components import Component
from trainer.errors import UsageError
from trainer.hyperparameters import Hyperparameters
from trainer.kernels import fused as kernels
from trainer.optimizer.binding import (
    UPDATES,
    bind,
    called,
    change_gradients,
    check_averages,
    check_gradients,
    check_updates,
    takes_loss,
)
from trainer.optimizer.groups import Bucket, resolve, trained
from trainer.optimizer.naming import StateNames
from trainer.settings import GroupSettings
from trainer.updates import get_gradients

Updates = OrderedDict[Any, Any]


@dataclass(frozen=True)
class Optimizer:
    """What one training step does to the network.

    Attributes
    ----------
    updates : OrderedDict
        Each parameter and each state with the expression of its next value, for ``theano.function``.
    parameters : list of shared variables
        What is trained.
    state : list of shared variables
        What is kept between steps besides the parameters, each under a name of its own: by the rules and the
        wrappers, averages, counts, random streams.
    hyperparameters : Hyperparameters
        Every number of the update, by name.
    averages : mapping
        Each averaged parameter or buffer to the shared variable of its average.
    evaluated : mapping
        Each parameter in whose place another shared variable must stand wherever the network is evaluated or
        saved.
    """

    updates: Updates
    parameters: list[Any]
    state: list[Any]
    hyperparameters: Hyperparameters
    averages: Mapping[Any, Any] = field(default_factory=dict)
    evaluated: Mapping[Any, Any] = field(default_factory=dict)


def build_optimizer(
    loss_or_grads: Any,
    parameters: Sequence[Any],
    *,
    rule: Component,
    gradient: Sequence[Component] = (),
    clipping: Sequence[Component] = (),
    wrapper: Sequence[Component] = (),
    constraint: Sequence[Component] = (),
    averaging: Component | None = None,
    groups: Sequence[GroupSettings] = (),
    weight_decay: float | None = None,
    weight_decay_match: str = "*",
    buffers: Mapping[Any, Any] | None = None,
    between: Callable[[list[Any]], Sequence[Any]] | None = None,
    fused: bool | None = None,
) -> Optimizer:
    """Compose one dictionary of updates, each part applied to what the one before it gave.

    Raw gradients, `between`, `gradient`, `clipping`, the rule of each parameter, weight decay, `wrapper`,
    `constraint`, `averaging`. Every number among the components' arguments and their functions' defaults
    becomes a hyperparameter: the rule's under its own name (``learning_rate``), a group's as
    ``groups.NAME.learning_rate``, the others' behind their component's key (``clipping.max_norm``,
    ``clipping.NAME.max_norm``). An argument that the function annotates as ``int`` shapes the graph and stays
    a number, and what is no number is handed on as it is.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    parameters : list of shared variables
        What is trained, where no group freezes it.
    rule : Component
        An update rule, ``function(gradients, parameters, **arguments)``, which gives a dictionary. It is
        called once for all parameters that have the same hyperparameters.
    gradient : sequence of Component
        Changes of the gradients: ``function(gradients, **arguments)``, or ``function(gradients, params,
        **arguments)``, gives as many, or a pair of them and a dictionary of updates of its states. One of
        them, with a first argument called ``loss``, may give the raw gradients:
        ``function(loss, params, **arguments)``.
    clipping : sequence of Component
        As `gradient`, applied after it.
    wrapper : sequence of Component
        Works on the updates of the parameters, and not on the rule's state:
        ``function(updates, parameters, **arguments)`` gives a dictionary.
    constraint : sequence of Component
        Bounds the parameters, called as a wrapper is.
    averaging : Component, optional
        Averages of the parameters and buffers: ``function(updates, variables, clock, **arguments)`` gives a
        dictionary of updates and one of averages.
    groups : sequence of GroupSettings
        Parameters that are trained otherwise, or not at all.
    weight_decay : float, optional
        A rule that takes it gets it. Around any other it is decoupled:
        ``p <- rule(p) - learning_rate * weight_decay * p``, learning_rate being 1 where the rule has none.
    weight_decay_match : str, default "*"
        The pattern of the names of those parameters that decay; a group that gives its own value comes before
        it.
    buffers : mapping, optional
        What else belongs to the weights (running statistics), with its new values. It is averaged too, where
        it is of a floating-point type, and is not among the updates.
    between : callable, optional
        From the raw gradients of the trained parameters to as many gradients.
    fused : bool, optional
        Whether the updates are computed by few kernels that read and write each element once
        (`trainer.kernels.fused`), which gives the same values to rounding. Where omitted, they are with a
        C compiler.

    Returns
    -------
    Optimizer
        The updates, with what they read and write.

    Raises
    ------
    UsageError
        Where a component lacks an argument, is given one that it does not know, refuses a value, or gives
        something else than described here; for a pattern that fits no parameter; where parts do not go
        together.
    ValueError
        Where the loss, the gradients or the parameters are not what `trainer.updates.get_gradients` takes.

    References
    ----------
    Decoupled weight decay: Loshchilov and Hutter (2019), arXiv:1711.05101.
    """
    everything, kept = list(parameters), dict(buffers or {})
    names = StateNames([*everything, *kept])
    hyperparameters = Hyperparameters()
    parameters = trained(everything, groups)
    source, changes = _split(gradient)
    gradients = _raw_gradients(loss_or_grads, everything, parameters, source, hyperparameters)
    if between is not None:
        gradients = check_gradients(between(gradients), parameters, Component(between, key="gradient"))
    starts = [*gradients, *kept.values()]
    gradients, states = _changed(
        [*changes, *_keyed(clipping, "clipping")], gradients, parameters, names, hyperparameters
    )
    buckets = resolve(everything, rule, groups, weight_decay, weight_decay_match, hyperparameters)
    updates, evaluated = _ruled(buckets, dict(zip(parameters, gradients, strict=True)), names)
    for key, component in [*_keyed(wrapper, "wrapper"), *_keyed(constraint, "constraint")]:
        _refuse_around(component, key, evaluated, buckets)
        call = bind(component, key, len(UPDATES), hyperparameters)
        wrapped = check_updates(call(updates, parameters), parameters, call)
        names.settle(_new(wrapped, updates), key if "." in key else "", parameters)
        updates = wrapped
    updates.update(states)
    averages: dict[Any, Any] = {}
    if averaging is not None:
        averaged = [*parameters, *(buffer for buffer in kept if buffer.dtype.startswith("float"))]
        updates, averages = _averaged(averaging, updates, kept, averaged, evaluated, names, hyperparameters)
    own = set(parameters)
    state = [variable for variable in updates if variable not in own]
    if kernels.available() if fused is None else fused:
        updates = kernels.fuse(updates, starts)
    return Optimizer(updates, parameters, state, hyperparameters, averages, evaluated)


def _keyed(components: Sequence[Component], part: str) -> list[tuple[str, Component]]:
    """Return the components of a chain, each with the key that its hyperparameters are named after."""
    several = len(components) > 1
    return [
        (component.key or (f"{part}.{number}" if several else part), component)
        for number, component in enumerate(components, 1)
    ]


def _split(
    gradient: Sequence[Component],
) -> tuple[tuple[str, Component] | None, list[tuple[str, Component]]]:
    """Return what gives the raw gradients, if anything, and what changes gradients."""
    keyed = _keyed(gradient, "gradient")
    sources = [(key, component) for key, component in keyed if takes_loss(component)]
    if len(sources) > 1:
        both = " and ".join(key for key, _ in sources)
        raise UsageError(f"{both} both give gradients of the loss: leave out one of them")
    return next(iter(sources), None), [pair for pair in keyed if pair not in sources]


def _raw_gradients(
    loss_or_grads: Any,
    everything: list[Any],
    parameters: list[Any],
    source: tuple[str, Component] | None,
    hyperparameters: Hyperparameters,
) -> list[Any]:
    if source is not None:
        key, component = source
        call = bind(component, key, 2, hyperparameters)
        return check_gradients(call(loss_or_grads, parameters), parameters, call)
    if isinstance(loss_or_grads, (list, tuple)):
        given = dict(zip(everything, get_gradients(loss_or_grads, everything), strict=True))
        return [given[parameter] for parameter in parameters]
    return get_gradients(loss_or_grads, parameters)


def _changed(
    chain: Sequence[tuple[str, Component]],
    gradients: list[Any],
    parameters: list[Any],
    names: StateNames,
    hyperparameters: Hyperparameters,
) -> tuple[list[Any], Updates]:
    states: Updates = OrderedDict()
    for key, component in chain:
        gradients, added = change_gradients(component, key, gradients, parameters, hyperparameters)
        names.settle(added, key if "." in key else "", parameters)
        states.update(added)
    return gradients, states


def _ruled(
    buckets: Sequence[Bucket], gradients: Mapping[Any, Any], names: StateNames
) -> tuple[Updates, dict[Any, Any]]:
    """Return the updates that the rules give, with weight decay, and what evaluation uses."""
    updates: Updates = OrderedDict()
    evaluated: dict[Any, Any] = {}
    for bucket in buckets:
        members = bucket.parameters
        result = bucket.rule([gradients[member] for member in members], members)
        ruled = check_updates(result, members, bucket.rule)
        for variable in ruled:
            if variable in updates:
                raise UsageError(
                    f"{bucket.rule.key}: {called(bucket.rule)} updates {variable} for several parameter "
                    "groups; make its states anew in each call"
                )
        names.settle((state for state in ruled if state not in gradients), bucket.label, members)
        for member, decay in zip(members, bucket.decays, strict=True):
            if decay is not None:
                ruled[member] = _decayed(ruled[member], member, decay, bucket.rule)
        updates.update(ruled)
        evaluated.update(getattr(result, "evaluated", {}))
    return updates, evaluated


def _decayed(update: Any, parameter: Any, decay: Any, rule: Component) -> Any:
    rate = rule.arguments.get("learning_rate")
    lost = decay if rate is None else rate * decay
    return (update - lost.astype(parameter.dtype) * parameter).astype(parameter.dtype)


def _averaged(
    averaging: Component,
    updates: Updates,
    buffers: Mapping[Any, Any],
    variables: Sequence[Any],
    evaluated: Mapping[Any, Any],
    names: StateNames,
    hyperparameters: Hyperparameters,
) -> tuple[Updates, dict[Any, Any]]:
    """Add averages to the updates; of a parameter that another variable is evaluated for, that one's."""
    call = bind(averaging, averaging.key or "averaging", 3, hyperparameters)
    stand_ins = {evaluated.get(variable, variable): variable for variable in variables}
    known = OrderedDict([*updates.items(), *buffers.items()])
    extended, averages = check_averages(call(known, list(stand_ins), hyperparameters.clock), call)
    names.settle(_new(extended, known), parameters=list(stand_ins))
    for buffer in buffers:
        extended.pop(buffer, None)
    return extended, {stand_ins.get(variable, variable): each for variable, each in averages.items()}


def _new(updates: Mapping[Any, Any], known: Mapping[Any, Any]) -> list[Any]:
    return [variable for variable in updates if variable not in known]


def _refuse_around(
    component: Component, key: str, evaluated: Mapping[Any, Any], buckets: Sequence[Bucket]
) -> None:
    """Refuse what would change parameters whose rule answers with other variables than these."""
    for bucket in buckets:
        if not evaluated.keys().isdisjoint(bucket.parameters):
            part, name = called(component), called(bucket.rule)
            raise UsageError(
                f"{key}: {part} does not go with {name}, which is evaluated at an average of the parameters "
                f"that {part} does not reach: choose {key.partition('.')[0]}=none, or another rule"
            )
