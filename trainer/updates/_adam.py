"""Adam and its kin: steps along a running mean of gradients, scaled by their running size."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def adam(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.001,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
) -> tuple[Expression, ...]:
    """Adam: a running mean of gradients over the root of a running mean of their squares.

    The update of each parameter p with gradient g, elementwise, with m and v starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        p <- p - learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        About the largest change of an element in one step.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero. This is the paper's "epsilon hat": it stands beside
        the root of v before the correction of its bias.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m) and ``<parameter>.mean_square``
        (v), and one ``step`` (t) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Kingma and Ba (2014), Adam: A method for stochastic optimization. arXiv:1412.6980.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    rate = learning_rate * _bias_correction(step, beta1, beta2)
    return parameter - rate * mean / (tensor.sqrt(mean_square) + epsilon), mean, mean_square


@update_rule
def adamax(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    norm: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.002,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
) -> tuple[Expression, ...]:
    """Adamax: Adam with a decaying maximum of the gradients' size in place of their mean square.

    The update of each parameter p with gradient g, elementwise, with m and u starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        u <- max(beta2 * u, abs(g))
        p <- p - learning_rate / (1 - beta1**t) * m / (u + epsilon)

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.002
        The largest change of an element in one step.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the maximum, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the maximum, against division by zero.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m) and ``<parameter>.norm`` (u),
        and one ``step`` (t) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Kingma and Ba (2014), Adam: A method for stochastic optimization, section 7.1. arXiv:1412.6980.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    norm = tensor.maximum(beta2 * norm, abs(gradient))
    rate = learning_rate / (1 - beta1**step)
    return parameter - rate * mean / (norm + epsilon), mean, norm


@update_rule
def amsgrad(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    largest_mean_square: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.001,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
) -> tuple[Expression, ...]:
    """AMSGrad: Adam with the largest running mean of squared gradients so far, which never shrinks.

    The update of each parameter p with gradient g, elementwise, with m, v and w starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        w <- max(w, v)
        p <- p - learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(w) + epsilon)

    The paper has no correction of the bias; it stands here as in `adam`.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        About the largest change of an element in one step.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m), ``<parameter>.mean_square`` (v)
        and ``<parameter>.largest_mean_square`` (w), and one ``step`` (t) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Reddi, Kale and Kumar (2018), On the convergence of Adam and beyond. OpenReview ryQu7f-RZ.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    largest_mean_square = tensor.maximum(largest_mean_square, mean_square)
    rate = learning_rate * _bias_correction(step, beta1, beta2)
    stepped = parameter - rate * mean / (tensor.sqrt(largest_mean_square) + epsilon)
    return stepped, mean, mean_square, largest_mean_square


def _bias_correction(step: Expression, beta1: Expression, beta2: Expression) -> Expression:
    return tensor.sqrt(1 - beta2**step) / (1 - beta1**step)
