"""Update rules for Theano, wrappers around them, and bounds on gradients and parameters.

A rule takes a loss (or a list of gradients) and a list of shared variables, and gives an ordered dictionary
of updates for ``theano.function``. Each hyperparameter is a float or a symbolic scalar; as a shared variable
it can be changed at any step without compiling anew. The package needs Theano and nothing else.

Examples
--------
>>> import numpy as np, theano
>>> weights = theano.shared(np.array([1.0, -2.0]), name="weights")
>>> learning_rate = theano.shared(np.array(0.1))
>>> updates = nesterov_momentum((weights**2).sum(), [weights], learning_rate, momentum=0.5)
>>> [str(variable) for variable in updates]
['weights', 'weights.velocity']
>>> train = theano.function([], updates=updates)
>>> _ = train()
>>> weights.get_value()
array([ 0.7, -1.4])
"""

from ._adam import adam, adamax, amsgrad
from ._declaration import UpdateRule, UpdateWrapper, update_rule, update_wrapper
from ._definition import Definition
from ._descent import adadelta, adagrad, rmsprop, sgd
from ._momentum import apply_momentum, apply_nesterov_momentum, momentum, nesterov_momentum
from ._norms import (
    clip_by_norm,
    clip_by_value,
    max_norm_constraint,
    norm_constraint,
    total_norm_constraint,
)
from ._parameters import get_gradients

__all__ = [
    "Definition",
    "UpdateRule",
    "UpdateWrapper",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "amsgrad",
    "apply_momentum",
    "apply_nesterov_momentum",
    "clip_by_norm",
    "clip_by_value",
    "get_gradients",
    "max_norm_constraint",
    "momentum",
    "nesterov_momentum",
    "norm_constraint",
    "rmsprop",
    "sgd",
    "total_norm_constraint",
    "update_rule",
    "update_wrapper",
]
