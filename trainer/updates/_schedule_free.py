"""Schedule-free rules: an average of the iterates in place of a decay of the learning rate."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


def _same(value: NDArray[Any]) -> NDArray[Any]:
    return value


def _add_weight(
    weight_sum: Expression, step: Expression, learning_rate: Expression, warmup_steps: Expression
) -> Expression:
    return weight_sum + tensor.sqr(_warmed_up(learning_rate, step, warmup_steps))


_schedule_free = update_rule(
    shared={"weight_sum": _add_weight}, starts={"base": _same, "average": _same}, evaluated="average"
)


@_schedule_free
def schedule_free_sgd(
    parameter: Expression,
    gradient: Expression,
    base: Expression,
    average: Expression,
    *,
    step: Expression,
    weight_sum: Expression,
    learning_rate: Expression = 1.0,
    momentum: Expression = 0.9,
    warmup_steps: Expression = 0.0,
    weight_decay: Expression = 0.0,
) -> tuple[Expression, ...]:
    """Schedule-free gradient descent: steps from a base point, gradients between it and its average.

    The update of each parameter y with gradient g, elementwise, with z and x starting at y, s at 0, and t
    counting the updates from 1::

        r  = learning_rate * min(1, t / warmup_steps)
        z <- z - r * (g + weight_decay * y)
        s <- s + r**2
        x <- (1 - r**2 / s) * x + r**2 / s * z
        y <- (1 - momentum) * z + momentum * x

    The parameters hold y, where gradients are taken. The network is to be evaluated at x, the average: the
    updates' attribute ``evaluated`` gives it for each parameter. No schedule that decays is wanted; one that
    is given anyway weighs the average, as the warm-up does.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1.0
        The size of the step. The authors advise 10 to 50 times that of plain descent; the default is that of
        their program.
    momentum : float or symbolic scalar, default 0.9
        Where gradients are taken between z (0) and x (1), below 1. The paper's beta.
    warmup_steps : float or symbolic scalar, default 0
        The updates over which the learning rate grows linearly, at least 0.
    weight_decay : float or symbolic scalar, default 0
        Added to the gradient, times the parameter y; at least 0.

    Returns
    -------
    RuleUpdates
        Each parameter with its update, the states ``<parameter>.base`` (z) and ``<parameter>.average`` (x),
        and for all one ``step`` (t) and one ``weight_sum`` (s). A dictionary, with the attribute
        ``evaluated``: each parameter to its average.

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    The program of the authors and Optax weigh by the largest learning rate so far, the paper and this rule by
    the present one; while the rate does not fall, they agree. A wrapper or a constraint around this rule
    changes y alone, and only until the next update, which starts from z and x.

    References
    ----------
    Defazio et al. (2024), The road less scheduled. arXiv:2405.15682.
    """
    rate = _warmed_up(learning_rate, step, warmup_steps)
    base = base - rate * (gradient + weight_decay * parameter)
    average = _averaged(average, base, rate, weight_sum)
    return (1 - momentum) * base + momentum * average, base, average


@_schedule_free
def schedule_free_adamw(
    parameter: Expression,
    gradient: Expression,
    base: Expression,
    average: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    weight_sum: Expression,
    learning_rate: Expression = 0.0025,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
    warmup_steps: Expression = 0.0,
    weight_decay: Expression = 0.0,
) -> tuple[Expression, ...]:
    """Schedule-free AdamW: steps from a base point, scaled as Adam's, and their average for answers.

    The update of each parameter y with gradient g, elementwise, with z and x starting at y, v and s at 0, and
    t counting the updates from 1::

        r  = learning_rate * min(1, t / warmup_steps)
        v <- beta2 * v + (1 - beta2) * g**2
        z <- z - r * (g / (sqrt(v / (1 - beta2**t)) + epsilon) + weight_decay * y)
        s <- s + r**2
        x <- (1 - r**2 / s) * x + r**2 / s * z
        y <- (1 - beta1) * z + beta1 * x

    The parameters hold y, where gradients are taken. The network is to be evaluated at x, the average: the
    updates' attribute ``evaluated`` gives it for each parameter. No schedule that decays is wanted; one that
    is given anyway weighs the average, as the warm-up does.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.0025
        About the largest change of an element of z in one step. The authors advise 1 to 10 times that of a
        rule with a schedule; the default is that of their program.
    beta1 : float or symbolic scalar, default 0.9
        Where gradients are taken between z (0) and x (1), below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.
    warmup_steps : float or symbolic scalar, default 0
        The updates over which the learning rate grows linearly, at least 0.
    weight_decay : float or symbolic scalar, default 0
        Added to the direction, times the parameter y; at least 0.

    Returns
    -------
    RuleUpdates
        Each parameter with its update, the states ``<parameter>.base`` (z), ``<parameter>.average`` (x) and
        ``<parameter>.mean_square`` (v), and for all one ``step`` (t) and one ``weight_sum`` (s). A
        dictionary, with the attribute ``evaluated``: each parameter to its average.

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    The program of the authors and Optax weigh by the largest learning rate so far, the paper and this rule by
    the present one; while the rate does not fall, they agree. A wrapper or a constraint around this rule
    changes y alone, and only until the next update, which starts from z and x.

    References
    ----------
    Defazio et al. (2024), The road less scheduled, algorithm 1. arXiv:2405.15682.
    """
    rate = _warmed_up(learning_rate, step, warmup_steps)
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    size = tensor.sqrt(mean_square / (1 - beta2**step)) + epsilon
    base = base - rate * (gradient / size + weight_decay * parameter)
    average = _averaged(average, base, rate, weight_sum)
    return (1 - beta1) * base + beta1 * average, base, average, mean_square


def _warmed_up(learning_rate: Expression, step: Expression, warmup_steps: Expression) -> Expression:
    return learning_rate * tensor.minimum(1, step / tensor.maximum(1, warmup_steps))


def _averaged(average: Expression, base: Expression, rate: Expression, weight_sum: Expression) -> Expression:
    # A schedule that begins at 0 gives the first iterates no weight, of a sum that is still 0.
    weight = tensor.sqr(rate) / tensor.switch(tensor.eq(weight_sum, 0), 1, weight_sum)
    return average + weight * (base - average)
