"""LARS and LAMB: the length of each layer's step is a part of the length of its weights."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def lars(
    parameter: Expression,
    gradient: Expression,
    velocity: Expression,
    *,
    learning_rate: Expression,
    momentum: Expression = 0.9,
    trust_coefficient: Expression = 0.001,
    weight_decay: Expression = 0.0005,
) -> tuple[Expression, ...]:
    """LARS: gradient descent with momentum, each parameter's step in proportion to its norm.

    The update of each parameter p with gradient g, where norm is the L2 norm of a whole tensor, with the
    velocity v starting at 0::

        r  = trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p))
        v <- momentum * v + learning_rate * r * (g + weight_decay * p)
        p <- p - v

    The paper leaves open what a tensor of norm 0 does. Here r is 1 then, for p or for what it is divided by:
    biases that start at 0 would never move else.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update; a norm is taken over each of them.
    learning_rate : float or symbolic scalar
        With `trust_coefficient`, the norm of a step over the norm of its parameter. It is larger than that of
        plain descent; the paper lets it grow linearly at first, then decay with the square of what is left.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, at least 0 and below 1.
    trust_coefficient : float or symbolic scalar, default 0.001
        How far a parameter trusts its gradient, above 0.
    weight_decay : float or symbolic scalar, default 0.0005
        Added to the gradient, times the parameter; at least 0.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.velocity`` (v).

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    Optax divides by norm(g + weight_decay * p), the norm of the sum; the paper, and this rule, by the sum of
    the norms. Without weight decay they agree.

    References
    ----------
    You, Gitman and Ginsburg (2017), Large batch training of convolutional networks, algorithm 1.
    arXiv:1708.03888.
    """
    size = _norm(parameter)
    ratio = _ratio(trust_coefficient * size, _norm(gradient) + weight_decay * size)
    velocity = momentum * velocity + learning_rate * ratio * (gradient + weight_decay * parameter)
    return parameter - velocity, velocity


@update_rule
def lamb(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.001,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-6,
    weight_decay: Expression = 0.01,
) -> tuple[Expression, ...]:
    """LAMB: the direction of AdamW, each parameter's step in proportion to its norm.

    The update of each parameter p with gradient g, with the L2 norm of a whole tensor as norm, m and v
    starting at 0, and t counting the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        u  = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon) + weight_decay * p
        p <- p - learning_rate * norm(p) / norm(u) * u

    The ratio of the norms is 1 where one of them is 0, as in Optax: biases that start at 0 would never move
    else. The function phi of the paper, which may bound norm(p), is the identity here, as in its experiments.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update; a norm is taken over each of them.
    learning_rate : float or symbolic scalar, default 0.001
        The norm of a step over the norm of its parameter. The paper scales it by the root of the batch size.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-6
        Added to the root, against division by zero.
    weight_decay : float or symbolic scalar, default 0.01
        Added to the direction, times the parameter, before the norm is taken; at least 0.

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
    You et al. (2019), Large batch optimization for deep learning: training BERT in 76 minutes, algorithm 2.
    arXiv:1904.00962.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    size = tensor.sqrt(mean_square / (1 - beta2**step)) + epsilon
    direction = mean / (1 - beta1**step) / size + weight_decay * parameter
    rate = learning_rate * _ratio(_norm(parameter), _norm(direction))
    return parameter - rate * direction, mean, mean_square


def _norm(values: Expression) -> Expression:
    return tensor.sqrt(tensor.sum(tensor.sqr(values)))


def _ratio(numerator: Expression, denominator: Expression) -> Expression:
    both = tensor.gt(numerator, 0) * tensor.gt(denominator, 0)
    return tensor.switch(both, numerator / denominator, 1)
