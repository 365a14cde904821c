"""A schedule as an arithmetic expression, which is read and never run as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import TypeAlias

from trainer.errors import nearest

from ._common import Schedule

MOST_CHARACTERS = 500
MOST_DEPTH = 100

Values: TypeAlias = dict[str, float]
Expression: TypeAlias = Callable[[Values], float]

VARIABLES = ("step", "epoch", "progress", "initial", "pi")
# On floats alone, so that nothing grows: math.pow overflows where integers would fill the memory.
OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
# Each function with the fewest and the most arguments that it takes.
FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "abs": (math.fabs, 1, 1),
    "floor": (lambda value: float(math.floor(value)), 1, 1),
    "min": (min, 2, MOST_CHARACTERS),
    "max": (max, 2, MOST_CHARACTERS),
}


def formula(initial: float, formula: str) -> Schedule:
    """Compute the value by an arithmetic expression.

    The expression may have numbers; ``+ - * / **`` and parentheses; the names ``step`` (the updates that were
    made, 0 before the first), ``epoch`` (the epochs that were made, in fractions), ``progress`` (the part of
    the run that was made, from 0 to below 1), ``initial`` (the configured value) and ``pi``; the functions
    ``sqrt``, ``exp``, ``log`` (natural), ``sin``, ``cos``, ``abs``, ``floor``, and ``min`` and ``max`` of two
    or more. Nothing else can be said in it, and it is computed in floating-point numbers alone. It has at
    most 500 characters, and its operations are nested at most 100 deep.

    Parameters
    ----------
    initial : float
        The configured value.
    formula : str
        The expression, as ``initial * 0.5 ** floor(epoch / 10)``.

    Returns
    -------
    Schedule
        Called with the step, the epoch and the progress; it raises a ValueError, which names them, where
        the value is not a finite number.

    Raises
    ------
    ValueError
        Where the expression has anything else.

    Examples
    --------
    >>> value = formula(0.1, "initial * max(1 - progress, 0.25) ** 2")
    >>> [round(value(step, step / 100, step / 400), 5) for step in (0, 200, 399)]
    [0.1, 0.025, 0.00625]
    >>> formula(0.1, "initial * decay")
    Traceback (most recent call last):
    ValueError: formula: there is no decay; allowed are epoch, initial, pi, progress, step
    """
    return _Formula(float(initial), formula, _Reader(formula).expression())


class _Formula:
    """An expression with the configured value."""

    times = "all"

    def __init__(self, initial: float, text: str, expression: Expression) -> None:
        self.text, self.expression = text, expression
        self.constants = {"initial": initial, "pi": math.pi}

    def __call__(self, step: float, epoch: float, progress: float) -> float:
        values = {**self.constants, "step": float(step), "epoch": float(epoch), "progress": float(progress)}
        try:
            value = self.expression(values)
            if math.isfinite(value):
                return value
            reason = f"it is {value}"
        except (ArithmeticError, ValueError) as error:
            reason = str(error)
        raise ValueError(
            f"the formula {self.text!r} has no finite value at step {step:g} (epoch {epoch:g}, "
            f"progress {progress:g}): {reason}; mind that all three begin with 0"
        )


class _Reader:
    """Turns a text into a function of the variables' values, or says what in it is not allowed."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()

    def expression(self) -> Expression:
        if len(self.text) > MOST_CHARACTERS:
            raise ValueError(f"formula has {len(self.text)} characters: give at most {MOST_CHARACTERS}")
        try:
            tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else error
            raise ValueError(f"formula={self.text} is no arithmetic expression ({reason})") from error
        return self._node(tree, 0)

    def _node(self, node: ast.AST, depth: int) -> Expression:
        if depth > MOST_DEPTH:
            raise ValueError(f"formula is nested too deep: give at most {MOST_DEPTH} levels")
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return _variable(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            binary = OPERATORS[type(node.op)]
            left, right = self._node(node.left, depth + 1), self._node(node.right, depth + 1)
            return lambda values: binary(left(values), right(values))
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            unary, operand = OPERATORS[type(node.op)], self._node(node.operand, depth + 1)
            return lambda values: unary(operand(values))
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise ValueError(
            f"formula: {self._said(node)} is not allowed: give numbers, {', '.join(VARIABLES)}, + - * / ** "
            f"and the functions {', '.join(FUNCTIONS)}"
        )

    def _constant(self, node: ast.Constant) -> Expression:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise ValueError(f"formula: {self._said(node)} is not a number")
        try:
            number = float(node.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError(f"formula: {self._said(node)} is too large")
        return lambda values: number

    def _call(self, node: ast.Call, depth: int) -> Expression:
        name = self._said(node.func)
        if not isinstance(node.func, ast.Name) or name not in FUNCTIONS:
            raise ValueError(f"formula: there is no function {name}; {nearest(name, FUNCTIONS)}")
        function, fewest, most = FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            raise ValueError(f"formula: {name} takes {'one value' if most == 1 else 'two values or more'}")
        arguments = [self._node(argument, depth + 1) for argument in node.args]
        if most == 1:
            only = arguments[0]
            return lambda values: function(only(values))
        return lambda values: function(*[argument(values) for argument in arguments])

    def _said(self, node: ast.AST) -> str:
        # Not ast.unparse, which what is nested deep would exhaust.
        return (ast.get_source_segment(self.text, node) or type(node).__name__)[:60]


def _variable(name: str) -> Expression:
    if name not in VARIABLES:
        raise ValueError(f"formula: there is no {name}; {nearest(name, VARIABLES)}")
    return lambda values: values[name]
