"""Networks, and the functions that describe them.

A model is a function that a file of `conf/model/` names by `_target_`. It gets `input_shape` and `outputs`
from the data and its other arguments from the configuration, and returns a list of layers.
"""

from trainer.models.dense import mlp, softmax
from trainer.models.network import Network

__all__ = ["Network", "mlp", "softmax"]
