"""Momentum: as a wrapper around any rule, and as the rules that wrap gradient descent."""

from __future__ import annotations

from ._declaration import update_rule, update_wrapper
from ._definition import Expression


@update_wrapper
def apply_momentum(
    parameter: Expression, change: Expression, velocity: Expression, *, momentum: Expression = 0.9
) -> tuple[Expression, ...]:
    """Add momentum to finished updates.

    For each parameter p with update U[p], with the velocity v starting at 0::

        v <- momentum * v + U[p] - p
        p <- p + v

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables, optional
        The variables whose updates get momentum; all keys of `updates` where omitted.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, between 0 and 1. A higher value also means
        larger steps; to counter that, scale the learning rate by ``1 - momentum``.

    Returns
    -------
    OrderedDict
        A copy of `updates` with momentum, and the state ``<parameter>.wrapper.velocity`` (v).

    Raises
    ------
    ValueError
        For a parameter that `updates` lacks, that is no shared floating-point tensor or is given twice, and
        for a `momentum` that is no scalar.

    See Also
    --------
    momentum : The same around `sgd`.
    """
    velocity = momentum * velocity + change
    return parameter + velocity, velocity


@update_wrapper
def apply_nesterov_momentum(
    parameter: Expression, change: Expression, velocity: Expression, *, momentum: Expression = 0.9
) -> tuple[Expression, ...]:
    """Add Nesterov momentum to finished updates.

    For each parameter p with update U[p], with the velocity v starting at 0::

        v <- momentum * v + U[p] - p
        p <- p + momentum * v + U[p] - p        (the new v)

    The classical form wants the gradient at the look-ahead point; this formulation takes it at the current
    parameters.

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables, optional
        The variables whose updates get momentum; all keys of `updates` where omitted.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, between 0 and 1. A higher value also means
        larger steps; to counter that, scale the learning rate by ``1 - momentum``.

    Returns
    -------
    OrderedDict
        A copy of `updates` with momentum, and the state ``<parameter>.wrapper.velocity`` (v).

    Raises
    ------
    ValueError
        As `apply_momentum` does.

    See Also
    --------
    nesterov_momentum : The same around `sgd`.
    """
    velocity = momentum * velocity + change
    return parameter + momentum * velocity + change, velocity


@update_rule
def momentum(
    parameter: Expression,
    gradient: Expression,
    velocity: Expression,
    *,
    learning_rate: Expression,
    momentum: Expression = 0.9,
) -> tuple[Expression, ...]:
    """Stochastic gradient descent with momentum.

    The update of each parameter p with gradient g, with the velocity v starting at 0::

        v <- momentum * v - learning_rate * g
        p <- p + v

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar
        The size of the step, for a gradient of 1 and no velocity.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, between 0 and 1. A higher value also means
        larger steps; to counter that, scale the learning rate by ``1 - momentum``.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.velocity`` (v).

    Raises
    ------
    ValueError
        As `sgd` does.

    See Also
    --------
    apply_momentum : The same around any rule; around `sgd` it equals this one.

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods. USSR Computational
    Mathematics and Mathematical Physics 4(5), 1-17.
    """
    change = -learning_rate * gradient
    return apply_momentum.definition(parameter, change, velocity, momentum=momentum)


@update_rule
def nesterov_momentum(
    parameter: Expression,
    gradient: Expression,
    velocity: Expression,
    *,
    learning_rate: Expression,
    momentum: Expression = 0.9,
) -> tuple[Expression, ...]:
    """Stochastic gradient descent with Nesterov momentum.

    The update of each parameter p with gradient g, with the velocity v starting at 0::

        v <- momentum * v - learning_rate * g
        p <- p + momentum * v - learning_rate * g       (the new v)

    The classical form wants the gradient at the look-ahead point; this formulation takes it at the current
    parameters.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar
        The size of the step, for a gradient of 1 and no velocity, before the look-ahead adds to it.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, between 0 and 1. A higher value also means
        larger steps; to counter that, scale the learning rate by ``1 - momentum``.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.velocity`` (v).

    Raises
    ------
    ValueError
        As `sgd` does.

    See Also
    --------
    apply_nesterov_momentum : The same around any rule; around `sgd` it equals this one.

    References
    ----------
    Nesterov (1983), A method of solving a convex programming problem with convergence rate O(1/k²). Soviet
    Mathematics Doklady 27(2), 372-376. Sutskever, Martens, Dahl and Hinton (2013), On the importance of
    initialization and momentum in deep learning. ICML. At the current parameters: Bengio,
    Boulanger-Lewandowski and Pascanu (2012), arXiv:1212.0901.
    """
    change = -learning_rate * gradient
    return apply_nesterov_momentum.definition(parameter, change, velocity, momentum=momentum)
