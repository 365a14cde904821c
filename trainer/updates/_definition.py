"""What an update rule is: a pure function of one parameter, and the names of what it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Expression: TypeAlias = Any
"""A symbolic expression, or a number in its place; Theano tells type checkers nothing more."""

STEP = "step"


@dataclass(frozen=True)
class Definition:
    """The mathematics of a rule or a wrapper, for one parameter, without any bookkeeping.

    Called with expressions it gives expressions: with a parameter's own tensors the symbolic update,
    with zero-dimensional tensors the scalar program from which one kernel for all elements can be made.

    Parameters
    ----------
    function : callable
        ``function(parameter, signal, *states, **hyperparameters)``, the signal being the gradient for a
        rule and the proposed change for a wrapper. Gives the new parameter, then the new states.
    states : tuple of str
        Names of the states, in the order in which the function takes and returns them.
    hyperparameters : tuple of inspect.Parameter
        What the function takes by keyword, the step count aside: name, default, annotation.
    counts_steps : bool
        Whether the function takes ``step``, the number of this update, counted from 1.
    """

    function: Callable[..., Any]
    states: tuple[str, ...]
    hyperparameters: tuple[inspect.Parameter, ...]
    counts_steps: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Definition:
        """Read a definition from the signature of its function.

        Raises
        ------
        TypeError
            Where the signature is not ``(parameter, signal, *states, *, hyperparameters)`` with each
            state by its own name.
        """
        parameters = list(inspect.signature(function).parameters.values())
        tensors = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        if len(tensors) < 2 or len(tensors) + len(keywords) < len(parameters):
            raise TypeError(
                f"{function.__name__}{inspect.signature(function)}: a rule is defined by a function "
                "of (parameter, gradient, state, ..., *, hyperparameter, ...), each by its own name"
            )
        return cls(
            function=function,
            states=tuple(tensors[2:]),
            hyperparameters=tuple(p for p in keywords if p.name != STEP),
            counts_steps=any(p.name == STEP for p in keywords),
        )

    def __call__(
        self, parameter: Expression, signal: Expression, *states: Expression, **hyperparameters: Any
    ) -> tuple[Expression, ...]:
        """Give the new parameter and the new states, always as a tuple.

        Raises
        ------
        ValueError
            Where the function returns another number of expressions than it has states, and one.
        """
        result = self.function(parameter, signal, *states, **hyperparameters)
        results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if len(results) != 1 + len(self.states):
            wanted = ", ".join(("parameter", *self.states))
            raise ValueError(
                f"{self.function.__name__} must return {1 + len(self.states)} expressions, "
                f"new values for ({wanted}); it returned {len(results)}"
            )
        return results
