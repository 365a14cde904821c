"""What training makes small, and what it reports.

An objective is what a file of `conf/objective/` names by `_target_` returns.
"""

from trainer.objectives.base import Metric, Objective, Predict
from trainer.objectives.classes import CrossEntropy, cross_entropy
from trainer.objectives.labels import BinaryCrossEntropy, binary_cross_entropy
from trainer.objectives.reconstruction import Reconstruction, reconstruction
from trainer.objectives.values import Regression, absolute_error, huber, squared_error

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Metric",
    "Objective",
    "Predict",
    "Reconstruction",
    "Regression",
    "absolute_error",
    "binary_cross_entropy",
    "cross_entropy",
    "huber",
    "reconstruction",
    "squared_error",
]
