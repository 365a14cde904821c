"""AdamW: Adam with weight decay beside the adaptive step instead of inside the gradient."""

from __future__ import annotations

from theano import tensor

from ._declaration import update_rule
from ._definition import Expression


@update_rule
def adamw(
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
    weight_decay: Expression = 0.01,
) -> tuple[Expression, ...]:
    """AdamW: Adam with decoupled weight decay.

    The update of each parameter p with gradient g, elementwise, with m and v starting at 0 and t counting
    the updates from 1::

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g**2
        u  = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)
        p <- p - learning_rate * (u + weight_decay * p)

    Epsilon stands beside the corrected root, as in the paper; in `adam` it stands beside the uncorrected
    one. The paper multiplies the decay by a schedule and not by the learning rate itself: its decay is
    ``learning_rate * weight_decay`` here. PyTorch and Optax reckon as stated here.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.001
        About the largest change of an element in one step, decay aside.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, against division by zero.
    weight_decay : float or symbolic scalar, default 0.01
        The part of the parameter that a step with a learning rate of 1 takes away. The paper names no
        default; this one is PyTorch's.

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
    Loshchilov and Hutter (2019), Decoupled weight decay regularization. ICLR. arXiv:1711.05101.
    """
    mean = beta1 * mean + (1 - beta1) * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(gradient)
    root = tensor.sqrt(mean_square) / tensor.sqrt(1 - beta2**step)
    change = mean / (1 - beta1**step) / (root + epsilon)
    return parameter - learning_rate * (change + weight_decay * parameter), mean, mean_square
