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

from ._adafactor import adafactor
from ._adam import adam, adamax, amsgrad
from ._adamw import adamw
from ._adaptive import adabelief, radam, rmsprop_centered, yogi
from ._assembly import RuleUpdates, assemble
from ._averages import exponential_average, polyak_average, stochastic_average
from ._constraints import max_norm_constraint, non_negative_constraint, unit_norm_constraint
from ._declaration import UpdateRule, UpdateWrapper, update_rule, update_wrapper
from ._definition import Definition
from ._descent import adadelta, adagrad, rmsprop, sgd
from ._gradients import gradient_centralization, gradient_noise
from ._layerwise import lamb, lars
from ._lookahead import lookahead
from ._momentum import apply_momentum, apply_nesterov_momentum, momentum, nesterov_momentum
from ._muon import muon
from ._nesterov import adan, nadam, nadamw
from ._norms import (
    clip_by_norm,
    clip_by_parameter_norm,
    clip_by_value,
    norm_constraint,
    total_norm_constraint,
)
from ._parameters import get_gradients
from ._patterns import matching
from ._prodigy import prodigy
from ._schedule_free import schedule_free_adamw, schedule_free_sgd
from ._sharpness import sharpness_aware
from ._signs import lion, rprop, signsgd
from ._sm3 import sm3

__all__ = [
    "Definition",
    "RuleUpdates",
    "UpdateRule",
    "UpdateWrapper",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "amsgrad",
    "apply_momentum",
    "apply_nesterov_momentum",
    "assemble",
    "clip_by_norm",
    "clip_by_parameter_norm",
    "clip_by_value",
    "exponential_average",
    "get_gradients",
    "gradient_centralization",
    "gradient_noise",
    "lamb",
    "lars",
    "lion",
    "lookahead",
    "matching",
    "max_norm_constraint",
    "momentum",
    "muon",
    "nadam",
    "nadamw",
    "nesterov_momentum",
    "non_negative_constraint",
    "norm_constraint",
    "polyak_average",
    "prodigy",
    "radam",
    "rmsprop",
    "rmsprop_centered",
    "rprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "sharpness_aware",
    "signsgd",
    "sm3",
    "stochastic_average",
    "total_norm_constraint",
    "unit_norm_constraint",
    "update_rule",
    "update_wrapper",
    "yogi",
]
