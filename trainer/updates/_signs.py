"""Rules that go by the signs of gradients and leave their sizes aside."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def signsgd(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    *,
    learning_rate: Expression = 1e-4,
    momentum: Expression = 0.0,
) -> tuple[Expression, ...]:
    """SignSGD, and with momentum Signum: steps of one size against the gradient's sign.

    The update of each parameter p with gradient g, elementwise, with m starting at 0::

        m <- momentum * m + (1 - momentum) * g
        p <- p - learning_rate * sign(m)

    Without momentum m is g, which is the paper's signSGD; with it, 0.9 in the paper, it is Signum.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1e-4
        The change of each element in one step.
    momentum : float or symbolic scalar, default 0
        The decay of the running mean of gradients, at least 0 and below 1.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.mean`` (m).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Bernstein, Wang, Azizzadenesheli and Anandkumar (2018), signSGD: Compressed optimisation for non-convex
    problems. ICML. arXiv:1802.04434.
    """
    mean = momentum * mean + (1 - momentum) * gradient
    return parameter - learning_rate * tensor.sgn(mean), mean


@update_rule
def lion(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    *,
    learning_rate: Expression = 1e-4,
    beta1: Expression = 0.9,
    beta2: Expression = 0.99,
    weight_decay: Expression = 0.0,
) -> tuple[Expression, ...]:
    """Lion: the sign of a mix of the gradient and its running mean, with decoupled weight decay.

    The update of each parameter p with gradient g, elementwise, with m starting at 0::

        u  = sign(beta1 * m + (1 - beta1) * g)          (the old m)
        p <- p - learning_rate * (u + weight_decay * p)
        m <- beta2 * m + (1 - beta2) * g

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1e-4
        The change of each element in one step, decay aside; the paper suggests a third to a tenth of what
        suits AdamW.
    beta1 : float or symbolic scalar, default 0.9
        The weight of the running mean in the step, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.99
        The decay of the running mean, at least 0 and below 1.
    weight_decay : float or symbolic scalar, default 0
        The part of the parameter that a step with a learning rate of 1 takes away. Since the learning rate
        is smaller than AdamW's, the paper suggests 3 to 10 times as much. Optax has 0.001 by default.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the state ``<parameter>.mean`` (m).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms. NeurIPS. arXiv:2302.06675.
    """
    direction = tensor.sgn(beta1 * mean + (1 - beta1) * gradient)
    stepped = parameter - learning_rate * (direction + weight_decay * parameter)
    return stepped, beta2 * mean + (1 - beta2) * gradient


@update_rule
def rprop(
    parameter: Expression,
    gradient: Expression,
    factor: Expression,
    change: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.1,
    increase: Expression = 1.2,
    decrease: Expression = 0.5,
    min_factor: Expression = 1e-5,
    max_factor: Expression = 500.0,
    backtracking: Expression = 1.0,
) -> tuple[Expression, ...]:
    """Rprop: each element's own step size, which grows while its gradient keeps its sign.

    The update of each parameter p with gradient g, elementwise, with the factor f starting at 1 and the last
    change c at 0::

        where c * g > 0 (the last change went too far):
            f <- max(decrease * f, min_factor)
            p <- p - backtracking * c
            c <- 0
        elsewhere:
            f <- min(increase * f, max_factor) where c * g < 0
            c <- -learning_rate * f * sign(g)
            p <- p + c                          (the new c)

    The step size of the paper is ``learning_rate * f``: its first step is `learning_rate`, its bounds, 1e-6
    and 50, are `min_factor` and `max_factor` times that, and a scheduled learning rate scales all steps
    alike. It is meant for the gradient of the whole training part; batches too small turn signs by chance.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.1
        The change of each element in the first step.
    increase : float or symbolic scalar, default 1.2
        What the factor is multiplied by where the gradient kept its sign, at least 1.
    decrease : float or symbolic scalar, default 0.5
        What the factor is multiplied by where the gradient changed its sign, above 0 and below 1.
    min_factor, max_factor : float or symbolic scalar, default 1e-5 and 500
        Between what the factor stays, above 0.
    backtracking : float or symbolic scalar, default 1
        The part of the last change that is taken back where the gradient changed its sign: 1 as in the
        paper; 0 stays where it is, as PyTorch does, which others call iRprop-.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.factor`` (f) and ``<parameter>.change`` (c),
        and one ``step`` for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Riedmiller and Braun (1993), A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm. IEEE International Conference on Neural Networks, 586-591. Without backtracking: Igel and
    Hüsken (2000), Improving the Rprop learning algorithm. NC 2000, 115-121.
    """
    factor = tensor.switch(tensor.eq(step, 1), 1, factor)
    # Of signs, since the product of a small change and a small gradient may round to 0.
    turned = tensor.sgn(change) * tensor.sgn(gradient)
    shrunk = tensor.maximum(decrease * factor, min_factor)
    grown = tensor.minimum(increase * factor, max_factor)
    factor = tensor.switch(tensor.gt(turned, 0), shrunk, tensor.switch(tensor.lt(turned, 0), grown, factor))
    new_change = tensor.switch(tensor.gt(turned, 0), 0, -learning_rate * factor * tensor.sgn(gradient))
    taken_back = tensor.switch(tensor.gt(turned, 0), backtracking * change, 0)
    return parameter + new_change - taken_back, factor, new_change
