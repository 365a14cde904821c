"""What an update rule is: a pure function of one parameter, and the names of what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

Expression: TypeAlias = Any
"""A symbolic expression, or a number in its place; Theano tells type checkers nothing more."""

Start: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From a parameter's value to the first value of one of its states."""

STEP = "step"


def count_step(step: Expression) -> Expression:
    """Give the number of the update that follows `step` updates."""
    return step + 1


@dataclass(frozen=True)
class Definition:
    """The mathematics of a rule or a wrapper, for one parameter, without any bookkeeping.

    Called with expressions it gives expressions: with a parameter's own tensors the symbolic update,
    with zero-dimensional tensors the scalar program from which one kernel for all elements can be made.

    That a definition is elementwise is not declared but seen: called with zero-dimensional tensors, it then
    gives a program of `Elemwise` operations alone, whose states all start with the parameter's shape. A norm,
    a mean or a matrix product leaves another operation there.

    Parameters
    ----------
    function : callable
        ``function(parameter, signal, *states, **scalars)``, the signal being the gradient for a rule and the
        proposed change for a wrapper. Gives the new parameter, then the new states.
    states : tuple of str
        Names of the states, in the order in which the function takes and returns them.
    hyperparameters : tuple of inspect.Parameter
        What the function takes by keyword, `shared` aside: name, default, annotation.
    shared : mapping of str to callable, optional
        The scalars that all parameters share, of which the function takes the new values by keyword. Each
        with a function of its old value that gives the new one, with hyperparameters and earlier scalars of
        this mapping by keyword. They start at 0. ``step`` is the number of this update, counted from 1.
    starts : mapping of str to callable, optional
        The first values of states that do not start as zeros of the parameter's shape and type.
    evaluated : str, optional
        The state that stands for the parameter wherever the network is evaluated or its weights are saved.
    """

    function: Callable[..., Any]
    states: tuple[str, ...]
    hyperparameters: tuple[inspect.Parameter, ...]
    shared: Mapping[str, Callable[..., Expression]] = field(default_factory=dict)
    starts: Mapping[str, Start] = field(default_factory=dict)
    evaluated: str | None = None

    @property
    def counts_steps(self) -> bool:
        """Whether the function takes ``step``, the number of this update, counted from 1."""
        return STEP in self.shared

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        shared: Mapping[str, Callable[..., Expression]] | None = None,
        starts: Mapping[str, Start] | None = None,
        evaluated: str | None = None,
    ) -> Definition:
        """Read a definition from the signature of its function.

        Raises
        ------
        TypeError
            Where the signature is not ``(parameter, signal, *states, *, hyperparameters)`` with each
            state by its own name, and where `shared`, `starts` or `evaluated` name what it does not have.
        """
        parameters = list(inspect.signature(function).parameters.values())
        tensors = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        called = f"{function.__name__}{inspect.signature(function)}"
        if len(tensors) < 2 or len(tensors) + len(keywords) < len(parameters):
            raise TypeError(
                f"{called}: a rule is defined by a function "
                "of (parameter, gradient, state, ..., *, hyperparameter, ...), each by its own name"
            )
        states, names = tuple(tensors[2:]), [p.name for p in keywords]
        counted = {STEP: count_step} if STEP in names else {}
        scalars = {**counted, **(shared or {})}
        started = [*(starts or {}), *([] if evaluated is None else [evaluated])]
        for name, kind, known in [
            *((name, "state", states) for name in started),
            *((name, "keyword-only argument", names) for name in scalars),
        ]:
            if name not in known:
                raise TypeError(f"{called} has no {kind} {name}, which its declaration names")
        return cls(
            function=function,
            states=states,
            hyperparameters=tuple(p for p in keywords if p.name not in scalars),
            shared=scalars,
            starts=dict(starts or {}),
            evaluated=evaluated,
        )

    def __call__(
        self, parameter: Expression, signal: Expression, *states: Expression, **scalars: Any
    ) -> tuple[Expression, ...]:
        """Give the new parameter and the new states, always as a tuple.

        Raises
        ------
        ValueError
            Where the function returns another number of expressions than it has states, and one.
        """
        result = self.function(parameter, signal, *states, **scalars)
        results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if len(results) != 1 + len(self.states):
            wanted = ", ".join(("parameter", *self.states))
            raise ValueError(
                f"{self.function.__name__} must return {1 + len(self.states)} expressions, "
                f"new values for ({wanted}); it returned {len(results)}"
            )
        return results
