"""From definitions to one dictionary of updates: states, shared scalars, precision, order."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import theano
from theano import tensor

from ._definition import STEP, Definition, Expression, Start
from ._parameters import (
    arithmetic_dtype,
    as_scalar,
    check_parameters,
    fit,
    get_gradients,
    is_number,
    name_of,
    zeros_like,
)


class RuleUpdates(OrderedDict[Any, Expression]):
    """Each shared variable with the expression of its next value, and what evaluation uses.

    Parameters
    ----------
    updates : mapping or iterable of pairs, optional
        What it starts with. Of another `RuleUpdates` it takes `evaluated` over.

    Attributes
    ----------
    evaluated : dict
        Each parameter in whose place another variable must stand while the network is evaluated, and when
        its weights are saved, with that variable. Empty for most rules; the schedule-free ones train at one
        point and answer with another.
    """

    def __init__(
        self, updates: Mapping[Any, Expression] | Iterable[tuple[Any, Expression]] = (), **nothing: Any
    ) -> None:
        super().__init__(updates, **nothing)
        self.evaluated: dict[Any, Any] = dict(getattr(updates, "evaluated", {}))

    def copy(self) -> RuleUpdates:
        """Give a copy with the same `evaluated`."""
        return type(self)(self)


def assemble(
    loss_or_grads: Expression,
    params: Sequence[Any],
    choose: Callable[[Any], Definition],
    values: Mapping[str, Any],
) -> RuleUpdates:
    """Give the updates of a rule that may follow another definition for each parameter.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    choose : callable
        From a parameter to its definition.
    values : mapping
        The hyperparameters of all definitions by name.

    Returns
    -------
    RuleUpdates
        Each parameter and its states, in the order of `params`, then the scalars that they share.

    Raises
    ------
    ValueError
        As `get_gradients` does, and for a hyperparameter that is no scalar.
    """
    parameters = check_parameters(params)
    gradients = get_gradients(loss_or_grads, parameters)
    updates = RuleUpdates()
    extend(updates, choose, parameters, gradients, values)
    return updates


def extend(
    updates: RuleUpdates,
    choose: Callable[[Any], Definition],
    parameters: Sequence[Any],
    signals: Sequence[Expression],
    values: Mapping[str, Any],
    prefix: str = "",
) -> list[dict[str, Any]]:
    """Add the updates of parameters and of states that are made for them; give those states by name."""
    shared = _SharedScalars(parameters, values, prefix)
    made = []
    for parameter, signal in zip(parameters, signals, strict=True):
        definition = choose(parameter)
        dtype = arithmetic_dtype(parameter.dtype)
        states = {
            name: _new_state(parameter, prefix + name, definition.starts.get(name))
            for name in definition.states
        }
        scalars = {p.name: _argument(p, values[p.name], dtype) for p in definition.hyperparameters}
        scalars.update(shared.next_values(definition, dtype))
        tensors = [fit(variable, parameter, dtype) for variable in (parameter, signal)]
        tensors += [_in_precision(state, dtype) for state in states.values()]
        results = definition(*tensors, **scalars)
        for variable, result in zip([parameter, *states.values()], results, strict=True):
            updates[variable] = _as_next_value(result, variable)
        if definition.evaluated is not None:
            updates.evaluated[parameter] = states[definition.evaluated]
        made.append(states)
    updates.update(shared.updates)
    return made


class _SharedScalars:
    """The scalars that all parameters of a call share, each made when a definition first asks for it.

    The step count has the parameters' floating-point type, so that nothing is promoted to a wider one; a
    float32 counts no further than 2**24 steps, where every bias correction has long been 1. The others are
    float64: a float32 sum stops growing when its addends are small beside it.
    """

    def __init__(self, parameters: Sequence[Any], values: Mapping[str, Any], prefix: str) -> None:
        self._step_dtype = arithmetic_dtype(*(parameter.dtype for parameter in parameters))
        self._values = values
        self._prefix = prefix
        self._next: dict[str, Expression] = {}
        self.updates: OrderedDict[Any, Expression] = OrderedDict()

    def next_values(self, definition: Definition, dtype: str) -> dict[str, Expression]:
        for name, advance in definition.shared.items():
            if name not in self._next:
                self._add(name, advance)
        return {name: as_scalar(name, self._next[name], dtype) for name in definition.shared}

    def _add(self, name: str, advance: Callable[..., Expression]) -> None:
        dtype = self._step_dtype if name == STEP else "float64"
        variable = theano.shared(np.zeros((), dtype=dtype), name=self._prefix + name)
        known = {**self._values, **self._next}
        wanted = list(inspect.signature(advance).parameters)[1:]
        arguments = {argument: as_scalar(argument, known[argument], dtype) for argument in wanted}
        self._next[name] = self.updates[variable] = as_scalar(name, advance(variable, **arguments), dtype)


def is_structural(hyperparameter: inspect.Parameter) -> bool:
    """Return whether a hyperparameter shapes the graph and stays a number, as a number of iterations does."""
    return hyperparameter.annotation in (int, "int")


def _argument(hyperparameter: inspect.Parameter, value: Any, dtype: str) -> Any:
    """Give numbers and symbolic values as scalars of type `dtype`, and others as they are."""
    if is_structural(hyperparameter):
        return value
    symbolic = isinstance(value, (np.ndarray, theano.gof.Variable))
    default = hyperparameter.default
    absent = value is None or isinstance(value, str)
    number_wanted = default is hyperparameter.empty or is_number(default)
    if symbolic or is_number(value) or (absent and number_wanted):
        return as_scalar(hyperparameter.name, value, dtype)
    return value


def _new_state(parameter: Any, name: str, start: Start | None) -> Any:
    if start is None:
        return zeros_like(parameter, name)
    value = parameter.get_value(borrow=True)
    first = np.array(start(value))
    same = first.shape == value.shape
    broadcastable = parameter.broadcastable if same else tuple(length == 1 for length in first.shape)
    full_name = f"{parameter.name}.{name}" if parameter.name else None
    return theano.shared(first, name=full_name, broadcastable=broadcastable)


def _as_next_value(result: Expression, variable: Any) -> Expression:
    expression = tensor.as_tensor_variable(result)
    if expression.ndim != variable.ndim:
        raise ValueError(
            f"the new value of {name_of(variable)} has {expression.ndim} dimensions, it has {variable.ndim}"
        )
    return tensor.cast(tensor.patternbroadcast(expression, variable.broadcastable), variable.dtype)


def _in_precision(state: Any, dtype: str) -> Expression:
    return tensor.cast(state, dtype) if state.dtype.startswith("float") else state
