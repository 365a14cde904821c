"""Adam with Nesterov momentum: steps that look ahead of the running mean of gradients."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


def _momentum(beta1: Expression, momentum_decay: Expression, step: Expression) -> Expression:
    base = tensor.constant(0.96, dtype=step.dtype)
    return beta1 * (1 - base ** (step * momentum_decay) / 2)


def _correction(
    correction: Expression, beta1: Expression, momentum_decay: Expression, step: Expression
) -> Expression:
    """Give 1 less the product of all momenta so far."""
    return 1 - (1 - correction) * _momentum(beta1, momentum_decay, step)


@update_rule(shared={"correction": _correction})
def nadam(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    correction: Expression,
    learning_rate: Expression = 0.002,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
    momentum_decay: Expression = 0.004,
) -> tuple[Expression, ...]:
    """NAdam: Adam with Nesterov momentum that warms up.

    The update of each parameter p with gradient g, elementwise, with m, v and c starting at 0 and t
    counting the updates from 1::

        mu(t) = beta1 * (1 - 0.96**(t * momentum_decay) / 2)
        c <- 1 - (1 - c) * mu(t)
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        u  = mu(t + 1) * m / (1 - (1 - c) * mu(t + 1)) + (1 - mu(t)) * g / c
        p <- p - learning_rate * u / (sqrt(v / (1 - beta2**t)) + epsilon)

    c is 1 less the product of all mu so far. This is the author's report of 2015, and what PyTorch reckons.
    His workshop paper of 2016 has mu(t) in place of beta1 in the line of m. Optax has no warm-up: a large
    `momentum_decay`, 1e4 say, gives its ``nadam``.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.002
        About the largest change of an element in one step.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1, and the momentum in the end.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.
    momentum_decay : float or symbolic scalar, default 0.004
        How fast the momentum grows from half of `beta1` to all of it: over some 17 / `momentum_decay` steps
        half of what is missing is made up. At least 0.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m) and ``<parameter>.mean_square``
        (v), and one ``step`` (t) and one ``correction`` (c) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Dozat (2015), Incorporating Nesterov momentum into Adam. Stanford CS229 project report 054. Dozat (2016),
    the same, ICLR workshop, OpenReview OM0jvwB8jIp57ZJjtNEZ.
    """
    momentum = _momentum(beta1, momentum_decay, step)
    next_momentum = _momentum(beta1, momentum_decay, step + 1)
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    ahead = next_momentum / (1 - (1 - correction) * next_momentum) * mean
    ahead = ahead + (1 - momentum) / correction * gradient
    root = tensor.sqrt(mean_square) / tensor.sqrt(1 - beta2**step)
    return parameter - learning_rate * ahead / (root + epsilon), mean, mean_square


@update_rule(shared={"correction": _correction})
def nadamw(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    correction: Expression,
    learning_rate: Expression = 0.002,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
    momentum_decay: Expression = 0.004,
    weight_decay: Expression = 0.01,
) -> tuple[Expression, ...]:
    """NAdamW: NAdam with decoupled weight decay.

    The update of each parameter p, elementwise, with the step of `nadam`::

        p <- nadam(p) - learning_rate * weight_decay * p

    PyTorch has it as ``NAdam(decoupled_weight_decay=True)``. Optax and the benchmark AlgoPerf (Dahl et al.
    2023) have a constant momentum: a large `momentum_decay`, 1e4 say, gives theirs.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate, beta1, beta2, epsilon, momentum_decay : float or symbolic scalar
        As for `nadam`, with the same defaults.
    weight_decay : float or symbolic scalar, default 0.01
        The part of the parameter that a step with a learning rate of 1 takes away.

    Returns
    -------
    OrderedDict
        As `nadam` does.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Dozat (2016), Incorporating Nesterov momentum into Adam. ICLR workshop. Loshchilov and Hutter (2019),
    Decoupled weight decay regularization. ICLR. arXiv:1711.05101. Dahl et al. (2023), Benchmarking neural
    network training algorithms. arXiv:2306.07179.
    """
    stepped, *states = nadam.definition(
        parameter,
        gradient,
        mean,
        mean_square,
        step=step,
        correction=correction,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        momentum_decay=momentum_decay,
    )
    return stepped - learning_rate * weight_decay * parameter, *states


@update_rule
def adan(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_difference: Expression,
    mean_square: Expression,
    previous_gradient: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.001,
    beta1: Expression = 0.98,
    beta2: Expression = 0.92,
    beta3: Expression = 0.99,
    epsilon: Expression = 1e-8,
    weight_decay: Expression = 0.02,
) -> tuple[Expression, ...]:
    """Adan: Nesterov momentum from the differences of successive gradients, without looking ahead.

    The update of each parameter p with gradient g, elementwise, with m, d and n starting at 0, h the
    gradient of the update before (in the first one g itself), and t counting the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        d <- beta2 * d + (1 - beta2) * (g - h)
        n <- beta3 * n + (1 - beta3) * (g + beta2 * (g - h))**2
        u  = m / (1 - beta1**t) + beta2 * d / (1 - beta2**t)
        s  = learning_rate * u / (sqrt(n / (1 - beta3**t)) + epsilon)
        p <- (p - s) / (1 + learning_rate * weight_decay)
        h <- g

    The betas are decays, as in the authors' own program; the paper writes 1 - beta for them. Its algorithm
    starts m at g and n at g**2, without correcting a bias; the correction that stands here is that of the
    authors' program, and Optax's. Optax takes the paper's 1 - beta2 in two places over unchanged, beside
    decays: its weight of a difference is 1 - beta2 where here, in the paper and in the authors' program it
    is what remains of one, by default 0.08 in place of 0.92. The division by
    ``1 + learning_rate * weight_decay`` is the paper's, a proximal step; Optax subtracts
    ``learning_rate * weight_decay * p`` instead. There are no restarts.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        The size of the step; the authors took 5 to 10 times what suits Adam.
    beta1 : float or symbolic scalar, default 0.98
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.92
        The decay of the running mean of gradients' differences, at least 0 and below 1.
    beta3 : float or symbolic scalar, default 0.99
        The decay of the running mean of squares, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.
    weight_decay : float or symbolic scalar, default 0.02
        About the part of the parameter that a step with a learning rate of 1 takes away.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m), ``<parameter>.mean_difference``
        (d), ``<parameter>.mean_square`` (n) and ``<parameter>.previous_gradient`` (h), and one ``step`` (t)
        for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Xie, Zhou, Li, Lin and Yan (2022), Adan: Adaptive Nesterov momentum algorithm for faster optimizing deep
    models. arXiv:2208.06677.
    """
    difference = gradient - tensor.switch(tensor.eq(step, 1), gradient, previous_gradient)
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_difference = beta2 * mean_difference + (1 - beta2) * difference
    mean_square = beta3 * mean_square + (1 - beta3) * tensor.sqr(gradient + beta2 * difference)
    change = mean / (1 - beta1**step) + beta2 * mean_difference / (1 - beta2**step)
    root = tensor.sqrt(mean_square) / tensor.sqrt(1 - beta3**step)
    stepped = parameter - learning_rate * change / (root + epsilon)
    decayed = stepped / (1 + learning_rate * weight_decay)
    return decayed, mean, mean_difference, mean_square, gradient
