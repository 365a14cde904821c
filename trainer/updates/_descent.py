"""Gradient descent, and rules that scale each element's step by its own past gradients."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def sgd(parameter: Expression, gradient: Expression, *, learning_rate: Expression) -> Expression:
    """Stochastic gradient descent.

    The update of each parameter p with gradient g::

        p <- p - learning_rate * g

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar
        The size of the step, for a gradient of 1.

    Returns
    -------
    OrderedDict
        Each parameter with its update. No state is kept.

    Raises
    ------
    ValueError
        For gradients that do not match `params`, a parameter that is no shared floating-point tensor or is
        given twice, a loss that is not scalar or does not depend on a parameter, a `learning_rate` that is
        no scalar.
    """
    return parameter - learning_rate * gradient


@update_rule
def adagrad(
    parameter: Expression,
    gradient: Expression,
    accumulator: Expression,
    *,
    learning_rate: Expression = 1.0,
    epsilon: Expression = 1e-6,
) -> tuple[Expression, ...]:
    """AdaGrad: steps divided by the root of the sum of all squared gradients so far.

    The update of each parameter p with gradient g, elementwise, with a starting at 0::

        a <- a + g**2
        p <- p - learning_rate * g / sqrt(a + epsilon)

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1.0
        The size of the first step. Since a only grows, later steps shrink by themselves.
    epsilon : float or symbolic scalar, default 1e-6
        Added below the root, against division by zero.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.accumulator`` (a).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Duchi, Hazan and Singer (2011), Adaptive subgradient methods for online learning and stochastic
    optimization. JMLR 12, 2121-2159. The place of epsilon follows Chris Dyer's Notes on AdaGrad.
    """
    accumulator = accumulator + tensor.sqr(gradient)
    return parameter - learning_rate * gradient / tensor.sqrt(accumulator + epsilon), accumulator


@update_rule
def rmsprop(
    parameter: Expression,
    gradient: Expression,
    mean_square: Expression,
    *,
    learning_rate: Expression = 1.0,
    rho: Expression = 0.9,
    epsilon: Expression = 1e-6,
) -> tuple[Expression, ...]:
    """RMSProp: steps divided by the root of a running mean of squared gradients.

    The update of each parameter p with gradient g, elementwise, with r starting at 0::

        r <- rho * r + (1 - rho) * g**2
        p <- p - learning_rate * g / sqrt(r + epsilon)

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1.0
        The size of a step whose gradient is as large as its running root mean square.
    rho : float or symbolic scalar, default 0.9
        The decay of the running mean, between 0 and 1; near 1 it decays slowly and remembers long.
    epsilon : float or symbolic scalar, default 1e-6
        Added below the root, against division by zero.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.mean_square`` (r).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Tieleman and Hinton (2012), Neural Networks for Machine Learning, lecture 6.5: rmsprop. Coursera.
    """
    mean_square = rho * mean_square + (1 - rho) * tensor.sqr(gradient)
    return parameter - learning_rate * gradient / tensor.sqrt(mean_square + epsilon), mean_square


@update_rule
def adadelta(
    parameter: Expression,
    gradient: Expression,
    mean_square: Expression,
    mean_square_step: Expression,
    *,
    learning_rate: Expression = 1.0,
    rho: Expression = 0.95,
    epsilon: Expression = 1e-6,
) -> tuple[Expression, ...]:
    """AdaDelta: steps in the parameter's own units, from running means of squared gradients and steps.

    The update of each parameter p with gradient g, elementwise, with r and s starting at 0::

        r <- rho * r + (1 - rho) * g**2
        u  = g * sqrt(s + epsilon) / sqrt(r + epsilon)      (the new r, the old s)
        p <- p - learning_rate * u
        s <- rho * s + (1 - rho) * u**2

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1.0
        A factor on the step; the method as published has none, which is 1.
    rho : float or symbolic scalar, default 0.95
        The decay of both running means, between 0 and 1; near 1 they decay slowly and remember long.
    epsilon : float or symbolic scalar, default 1e-6
        Added below both roots. Besides guarding the division it sets the size of the first steps.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the states ``<parameter>.mean_square`` (r) and
        ``<parameter>.mean_square_step`` (s).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Zeiler (2012), ADADELTA: An adaptive learning rate method. arXiv:1212.5701.
    """
    mean_square = rho * mean_square + (1 - rho) * tensor.sqr(gradient)
    step = gradient * tensor.sqrt(mean_square_step + epsilon) / tensor.sqrt(mean_square + epsilon)
    mean_square_step = rho * mean_square_step + (1 - rho) * tensor.sqr(step)
    return parameter - learning_rate * step, mean_square, mean_square_step
