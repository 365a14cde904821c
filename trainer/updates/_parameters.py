"""Parameters and the variables that accompany them: checks, precision, gradients, state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import theano
from theano import tensor

from ._definition import Expression

Updates: TypeAlias = OrderedDict[Any, Expression]
"""Each shared variable with the expression of its next value."""


def name_of(parameter: Any, index: int | None = None) -> str:
    """Give a parameter's name for a message, or its place where it has none."""
    name = getattr(parameter, "name", None)
    if name:
        return str(name)
    return str(parameter) if index is None else f"params[{index}]"


def check_parameters(params: Sequence[Any]) -> list[Any]:
    """Give `params` as a list of distinct shared tensors of a floating-point type.

    Raises
    ------
    ValueError
        For anything else, with the name of the first offender.
    """
    if isinstance(params, theano.gof.Variable):
        raise ValueError(f"params must be a list of shared variables; put {name_of(params)} into one")
    parameters = list(params)
    seen = set()
    for index, parameter in enumerate(parameters):
        name = name_of(parameter, index)
        if not isinstance(parameter, theano.compile.SharedVariable):
            raise ValueError(
                f"params must contain shared variables only; {name} is a {type(parameter).__name__}"
            )
        if not str(getattr(parameter, "dtype", "")).startswith("float"):
            raise ValueError(f"params must contain floating-point tensors only; {name} is {parameter.type}")
        if parameter in seen:
            raise ValueError(f"params must contain each parameter once; {name} stands there twice")
        seen.add(parameter)
    return parameters


def get_gradients(
    loss_or_grads: Expression | Sequence[Expression], params: Sequence[Any]
) -> list[Expression]:
    """Give one gradient for each parameter, in the order of `params`.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, of which the gradients are taken, or the gradients, which are used as they are.
    params : list of shared variables
        The parameters to differentiate by.

    Returns
    -------
    list of symbolic expressions
        The gradients.

    Raises
    ------
    ValueError
        Where a parameter is no shared floating-point tensor or stands twice in `params`; where the number
        of gradients differs from the number of parameters, or one has another number of dimensions than
        its parameter; where the loss is not a scalar or does not depend on a parameter.
    """
    parameters = check_parameters(params)
    if isinstance(loss_or_grads, (list, tuple)):
        return _check_gradients(loss_or_grads, parameters)
    return _differentiate(loss_or_grads, parameters)


def _check_gradients(gradients: Sequence[Expression], parameters: list[Any]) -> list[Expression]:
    if len(gradients) != len(parameters):
        names = ", ".join(name_of(parameter, index) for index, parameter in enumerate(parameters))
        raise ValueError(
            f"got {len(gradients)} gradients for {len(parameters)} parameters ({names}); "
            "give one for each, in the order of params"
        )
    checked = []
    for index, (gradient, parameter) in enumerate(zip(gradients, parameters, strict=True)):
        try:
            variable = tensor.as_tensor_variable(gradient)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"the gradient of {name_of(parameter, index)} is {gradient!r}, not a tensor expression"
            ) from error
        if variable.ndim != parameter.ndim:
            raise ValueError(
                f"the gradient of {name_of(parameter, index)} has {variable.ndim} dimensions, "
                f"the parameter has {parameter.ndim}"
            )
        checked.append(variable)
    return checked


def _differentiate(loss: Expression, parameters: list[Any]) -> list[Expression]:
    if not isinstance(loss, theano.gof.Variable):
        raise ValueError(f"the loss must be a symbolic expression; it is {loss!r}")
    if getattr(loss, "ndim", None) != 0 or not loss.dtype.startswith("float"):
        raise ValueError(
            f"the loss must be a floating-point scalar, such as a mean over the batch; it is {loss.type}"
        )
    gradients: list[Expression] = theano.grad(
        loss, parameters, disconnected_inputs="ignore", return_disconnected="None"
    )
    for index, (gradient, parameter) in enumerate(zip(gradients, parameters, strict=True)):
        if gradient is None:
            raise ValueError(
                f"the loss does not depend on {name_of(parameter, index)}; leave it out of params"
            )
    return gradients


def arithmetic_dtype(*dtypes: str) -> str:
    """Give the type in which values of these types are reckoned: the widest of them, at least float32.

    Half precision is a format to keep numbers in: an epsilon of 1e-8 is zero there.
    """
    widest = np.dtype("float32")
    for dtype in dtypes:
        widest = np.promote_types(widest, dtype)
    return str(widest)


def is_number(value: Any) -> bool:
    """Return whether `value` is a Python or NumPy number; a truth value is none."""
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def as_scalar(name: str, value: Expression, dtype: str) -> Expression:
    """Give a number or a symbolic scalar as a zero-dimensional tensor of type `dtype`.

    Raises
    ------
    ValueError
        For anything else, with `name`.
    """
    if is_number(value):
        return tensor.constant(np.asarray(value, dtype=dtype))
    try:
        scalar = tensor.as_tensor_variable(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a number or a symbolic scalar; it is {value!r}") from error
    if scalar.ndim != 0:
        raise ValueError(f"{name} must be a number or a symbolic scalar; it has {scalar.ndim} dimensions")
    return tensor.cast(scalar, dtype)


def fit(expression: Expression, parameter: Any, dtype: str) -> Expression:
    """Give `expression` in type `dtype`, broadcastable at least where `parameter` is."""
    patterns = zip(parameter.broadcastable, expression.broadcastable, strict=True)
    of_length_1 = [axis for axis, (wanted, given) in enumerate(patterns) if wanted and not given]
    if of_length_1:
        expression = tensor.addbroadcast(expression, *of_length_1)
    return tensor.cast(expression, dtype)


def zeros_like(parameter: Any, state: str) -> Any:
    """Make a state: a shared variable of zeros with the parameter's shape, type and broadcastable pattern."""
    value = parameter.get_value(borrow=True, return_internal_type=True)
    return theano.shared(
        np.zeros(value.shape, dtype=parameter.dtype),
        name=f"{parameter.name}.{state}" if parameter.name else None,
        broadcastable=parameter.broadcastable,
    )
