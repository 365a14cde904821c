"""Adaptive rules that measure the size or the spread of gradients in other ways than Adam and RMSProp."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def rmsprop_centered(
    parameter: Expression,
    gradient: Expression,
    mean_square: Expression,
    mean: Expression,
    velocity: Expression,
    *,
    learning_rate: Expression = 1e-4,
    rho: Expression = 0.95,
    momentum: Expression = 0.9,
    epsilon: Expression = 1e-4,
) -> tuple[Expression, ...]:
    """Centered RMSProp with momentum: steps divided by the running standard deviation of gradients.

    The update of each parameter p with gradient g, elementwise, with n, m and v starting at 0::

        n <- rho * n + (1 - rho) * g**2
        m <- rho * m + (1 - rho) * g
        v <- momentum * v - learning_rate * g / sqrt(max(n - m**2, 0) + epsilon)
        p <- p + v

    The maximum only stops rounding from going below 0. Optax reckons so too. PyTorch adds epsilon to the
    root instead, and multiplies the velocity by the learning rate at the end, so that a changed rate
    changes the whole velocity at once.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1e-4
        The size of a step, without velocity, whose gradient is as large as its running deviation.
    rho : float or symbolic scalar, default 0.95
        The decay of both running means, between 0 and 1; near 1 they decay slowly and remember long.
    momentum : float or symbolic scalar, default 0.9
        The part of the velocity that is kept at each step, between 0 and 1. A higher value also means
        larger steps; to counter that, scale the learning rate by ``1 - momentum``.
    epsilon : float or symbolic scalar, default 1e-4
        Added below the root, against division by zero.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the states ``<parameter>.mean_square`` (n), ``<parameter>.mean``
        (m) and ``<parameter>.velocity`` (v).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Graves (2013), Generating sequences with recurrent neural networks, section 4.2. arXiv:1308.0850.
    """
    mean_square = rho * mean_square + (1 - rho) * tensor.sqr(gradient)
    mean = rho * mean + (1 - rho) * gradient
    deviation = tensor.sqrt(tensor.maximum(mean_square - tensor.sqr(mean), 0) + epsilon)
    velocity = momentum * velocity - learning_rate * gradient / deviation
    return parameter + velocity, mean_square, mean, velocity


@update_rule
def radam(
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
    threshold: Expression = 4.0,
) -> tuple[Expression, ...]:
    """RAdam: Adam whose first steps are rectified while the mean of squared gradients knows few of them.

    The update of each parameter p with gradient g, elementwise, with m and v starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        L = 2 / (1 - beta2) - 1
        l = L - 2 * t * beta2**t / (1 - beta2**t)
        r = sqrt((l - 4) * (l - 2) * L / ((L - 4) * (L - 2) * l))
        u = m / (1 - beta1**t)
        p <- p - learning_rate * r * u * sqrt(1 - beta2**t) / (sqrt(v) + epsilon)   where l > threshold
        p <- p - learning_rate * u                                                  elsewhere

    The paper divides without epsilon; here it stands where PyTorch has it, beside the uncorrected root, and
    Optax has it beside the corrected one. PyTorch and Optax go over to adaptive steps above 5 and not 4,
    which with the default `beta2` is one step later.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        About the largest change of an element in one step, once steps are adaptive.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.
    threshold : float or symbolic scalar, default 4
        The length of the running mean, in gradients, above which steps are adaptive. Below 4 there is no
        rectification; a smaller value counts as 4.

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
    Liu et al. (2020), On the variance of the adaptive learning rate and beyond. ICLR. arXiv:1908.03265.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    length, longest = _lengths(beta2, step)
    rectification = tensor.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    )
    is_adaptive = tensor.gt(length, tensor.maximum(threshold, 4))
    rate = learning_rate / (1 - beta1**step)
    adaptive_rate = rate * tensor.cast(rectification, mean.dtype) * tensor.sqrt(1 - beta2**step)
    change = tensor.switch(is_adaptive, adaptive_rate / (tensor.sqrt(mean_square) + epsilon), rate) * mean
    return parameter - change, mean, mean_square


@update_rule
def adabelief(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    deviation: Expression,
    *,
    step: Expression,
    learning_rate: Expression = 0.001,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-16,
) -> tuple[Expression, ...]:
    """AdaBelief: Adam with the mean squared distance of gradients from their mean in place of their square.

    The update of each parameter p with gradient g, elementwise, with m and s starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        s <- beta2 * s + (1 - beta2) * (g - m)**2 + epsilon         (the new m)
        p <- p - learning_rate * m / (1 - beta1**t) / (sqrt(s / (1 - beta2**t)) + epsilon)

    Optax reckons so too.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        The size of a step whose gradient is as large as its running distance from the mean.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared distances, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-16
        Added to s at each step, and to its root; this default is the authors' program's.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m) and ``<parameter>.deviation`` (s),
        and one ``step`` (t) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Zhuang et al. (2020), AdaBelief optimizer: Adapting stepsizes by the belief in observed gradients.
    NeurIPS. arXiv:2010.07468.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    deviation = beta2 * deviation + (1 - beta2) * tensor.sqr(gradient - mean) + epsilon
    root = tensor.sqrt(deviation) / tensor.sqrt(1 - beta2**step)
    return parameter - learning_rate / (1 - beta1**step) * mean / (root + epsilon), mean, deviation


@update_rule
def yogi(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    learning_rate: Expression = 0.01,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-3,
) -> tuple[Expression, ...]:
    """Yogi: Adam whose measure of squared gradients moves by steps and not by a part of the distance.

    The update of each parameter p with gradient g, elementwise, with m and v starting at 0::

        m <- beta1 * m + (1 - beta1) * g
        v <- v - (1 - beta2) * sign(v - g**2) * g**2
        p <- p - learning_rate * m / (sqrt(v) + epsilon)

    The paper has no correction of the bias. Optax corrects it as `adam` does, and starts both states at 1e-6.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.01
        The size of a step whose gradient is as large as the root of v. In the first steps, when v knows
        little of the gradients, steps are larger: without epsilon the first is
        ``(1 - beta1) / sqrt(1 - beta2)`` learning rates, by default 3.2.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        How slowly v follows the squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-3
        Added to the root; it also bounds how adaptive the rule is.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the states ``<parameter>.mean`` (m) and
        ``<parameter>.mean_square`` (v).

    Raises
    ------
    ValueError
        As `sgd` does.

    References
    ----------
    Zaheer, Reddi, Sachan, Kale and Kumar (2018), Adaptive methods for nonconvex optimization. NeurIPS.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    square = tensor.sqr(gradient)
    mean_square = mean_square - (1 - beta2) * tensor.sgn(mean_square - square) * square
    return parameter - learning_rate * mean / (tensor.sqrt(mean_square) + epsilon), mean, mean_square


def _lengths(beta2: Expression, step: Expression) -> tuple[Expression, Expression]:
    """Return how many gradients the running mean spans, now and in the end, as float64 scalars.

    Single precision loses both in the difference of two large numbers.
    """
    decay, count = tensor.cast(beta2, "float64"), tensor.cast(step, "float64")
    longest = 2 / (1 - decay) - 1
    return longest - 2 * count * decay**count / (1 - decay**count), longest
