"""Bounds on tensors, gradients above all: by value, by norm, by the norm of all, by that of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theano import tensor

from ._definition import Expression
from ._parameters import arithmetic_dtype, as_scalar, get_gradients, name_of
from ._patterns import matching


def norm_constraint(
    tensor_var: Expression,
    max_norm: Expression,
    norm_axes: Sequence[int] | None = None,
    epsilon: Expression = 1e-7,
) -> Expression:
    """Scale a tensor down where its L2 norms over some axes exceed a maximum.

    With n the L2 norm over `norm_axes`, kept as dimensions of length 1::

        x * clip(n, 0, max_norm) / (epsilon + n)

    Parameters
    ----------
    tensor_var : symbolic expression
        The tensor x: a parameter's update, or anything else.
    max_norm : float or symbolic scalar
        The largest norm, above 0.
    norm_axes : sequence of int, optional
        The axes that one norm is taken over. By default what enters one unit: axis 0 for matrices of
        inputs by units; all but axis 0 for 3-D, 4-D and 5-D tensors of convolution filters.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.

    Returns
    -------
    symbolic expression
        The scaled tensor, of the type of `tensor_var`.

    Raises
    ------
    ValueError
        Where `tensor_var` has another number of dimensions than 2 to 5 and `norm_axes` is omitted.

    Examples
    --------
    >>> from theano import tensor
    >>> norm_constraint(tensor.constant([[3.0], [4.0]]), max_norm=1.0).eval().round(3)
    array([[0.6],
           [0.8]])
    """
    given = tensor.as_tensor_variable(tensor_var)
    axes = default_axes(given) if norm_axes is None else tuple(norm_axes)
    dtype = arithmetic_dtype(given.dtype)
    wide = tensor.cast(given, dtype)
    return tensor.cast(wide * _scale(_norm(wide, axes), max_norm, epsilon, dtype), given.dtype)


def total_norm_constraint(
    tensor_vars: Sequence[Expression],
    max_norm: Expression,
    epsilon: Expression = 1e-7,
    return_norm: bool = False,
) -> list[Expression] | tuple[list[Expression], Expression]:
    """Scale several tensors down together where the L2 norm of all of them exceeds a maximum.

    With n the root of the sum of all squares in all tensors, each tensor x becomes::

        x * clip(n, 0, max_norm) / (epsilon + n)

    Put to gradients, it bounds the size of a step and keeps its direction, as recurrent networks need.

    Parameters
    ----------
    tensor_vars : list of symbolic expressions
        The tensors, gradients above all.
    max_norm : float or symbolic scalar
        The largest norm, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.
    return_norm : bool, default False
        Whether to give the norm as well.

    Returns
    -------
    list of symbolic expressions
        The scaled tensors, each of its own type; with `return_norm` the pair of that list and the scalar n
        before scaling.

    References
    ----------
    Sutskever, Vinyals and Le (2014), Sequence to sequence learning with neural networks. NIPS 27, 3104-3112.
    """
    given = [tensor.as_tensor_variable(variable) for variable in tensor_vars]
    dtype = arithmetic_dtype(*(variable.dtype for variable in given))
    squares = [tensor.sum(tensor.sqr(tensor.cast(variable, dtype))) for variable in given]
    norm = tensor.sqrt(sum(squares, tensor.zeros((), dtype)))
    scale = _scale(norm, max_norm, epsilon, dtype)
    scaled = [tensor.cast(variable * scale, variable.dtype) for variable in given]
    return (scaled, norm) if return_norm else scaled


def clip_by_norm(
    gradients: Sequence[Expression], max_norm: Expression, epsilon: Expression = 1e-7
) -> list[Expression]:
    """Scale each gradient down where its own L2 norm exceeds a maximum.

    With n the L2 norm of one gradient g over all its elements::

        g <- g * clip(n, 0, max_norm) / (epsilon + n)

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    max_norm : float or symbolic scalar
        The largest norm of each, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.

    Returns
    -------
    list of symbolic expressions
        The clipped gradients, each of its own type.

    See Also
    --------
    total_norm_constraint : Keeps the direction of the whole step.
    """
    given = [tensor.as_tensor_variable(gradient) for gradient in gradients]
    return [norm_constraint(variable, max_norm, range(variable.ndim), epsilon) for variable in given]


def clip_by_value(gradients: Sequence[Expression], max_value: Expression) -> list[Expression]:
    """Bring each element of each gradient between ``-max_value`` and ``max_value``.

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    max_value : float or symbolic scalar
        The largest size of an element, above 0.

    Returns
    -------
    list of symbolic expressions
        The clipped gradients, each of its own type.

    Examples
    --------
    >>> from theano import tensor
    >>> [clipped] = clip_by_value([tensor.constant([-3.0, 0.5])], max_value=1.0)
    >>> clipped.eval()
    array([-1. ,  0.5])
    """
    clipped = []
    for gradient in gradients:
        given = tensor.as_tensor_variable(gradient)
        bound = as_scalar("max_value", max_value, given.dtype)
        clipped.append(tensor.clip(given, -bound, bound))
    return clipped


def clip_by_parameter_norm(
    gradients: Sequence[Expression],
    params: Sequence[Any],
    max_ratio: Expression = 0.01,
    epsilon: Expression = 1e-3,
    match: str | Sequence[str] = "*",
) -> list[Expression]:
    """Scale each unit's gradient down where it is large beside the unit's weights (AGC).

    With n the L2 norm of what enters one unit in a gradient g, and w that of the unit's weights::

        g <- g * max_ratio * max(w, epsilon) / n        where n / max(w, epsilon) > max_ratio

    What enters one unit: axis 0 of matrices of inputs by units; all but axis 0 of 3-D, 4-D and 5-D tensors of
    convolution filters; a vector or a scalar, such as a bias, is taken as a whole.

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    params : list of shared variables
        Their parameters.
    max_ratio : float or symbolic scalar, default 0.01
        The largest ratio of the norms, above 0.
    epsilon : float or symbolic scalar, default 1e-3
        The least norm of weights that is reckoned with, above 0: weights of 0 could else never move.
    match : str or sequence of str, default "*"
        Patterns of the names of those parameters whose gradients are clipped; the paper leaves out the last
        layer.

    Returns
    -------
    list of symbolic expressions
        The gradients, each of its own type.

    Raises
    ------
    ValueError
        As `get_gradients` does; for a pattern that fits no name, and for a parameter of more than five
        dimensions.

    References
    ----------
    Brock, De, Smith and Simonyan (2021), High-performance large-scale image recognition without
    normalization. ICML. arXiv:2102.06171.
    """
    parameters = list(params)
    chosen = set(matching(match, parameters))
    clipped = []
    for gradient, parameter in zip(get_gradients(list(gradients), parameters), parameters, strict=True):
        if parameter in chosen:
            axes = default_axes(parameter) if parameter.ndim >= 2 else tuple(range(parameter.ndim))
            dtype = arithmetic_dtype(gradient.dtype, parameter.dtype)
            least = as_scalar("epsilon", epsilon, dtype)
            largest = as_scalar("max_ratio", max_ratio, dtype) * tensor.maximum(
                _norm(tensor.cast(parameter, dtype), axes), least
            )
            norm = _norm(tensor.cast(gradient, dtype), axes)
            scaled = gradient * (largest / tensor.maximum(norm, largest))
            gradient = tensor.cast(scaled, gradient.dtype)
        clipped.append(gradient)
    return clipped


def default_axes(given: Expression) -> tuple[int, ...]:
    """Give the axes over which one norm is taken: those of what enters one unit.

    Raises
    ------
    ValueError
        For another number of dimensions than 2 to 5.
    """
    if given.ndim == 2:
        return (0,)
    if given.ndim in (3, 4, 5):
        return tuple(range(1, given.ndim))
    raise ValueError(
        f"Unsupported tensor dimensionality {given.ndim} of {name_of(given)}: "
        "only 2 to 5 dimensions have default axes; give norm_axes"
    )


def _norm(given: Expression, axes: tuple[int, ...]) -> Expression:
    return tensor.sqrt(tensor.sum(tensor.sqr(given), axis=axes, keepdims=True))


def _scale(norm: Expression, max_norm: Expression, epsilon: Expression, dtype: str) -> Expression:
    bound = as_scalar("max_norm", max_norm, dtype)
    return tensor.clip(norm, as_scalar("zero", 0, dtype), bound) / (
        as_scalar("epsilon", epsilon, dtype) + norm
    )
