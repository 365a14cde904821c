"""Networks, and the functions that describe them.

A model is a function that a file of `conf/model/` names by `_target_`. It gets `input_shape` and `outputs`
from data and objective and its other arguments from the configuration, and returns a list of layers; or it
takes `inputs`, a symbolic batch, and returns a symbolic output (`layers_of`).
"""

from trainer.models.autoencoder import autoencoder
from trainer.models.convolutional import cnn, resnet
from trainer.models.dense import mlp, softmax
from trainer.models.description import layers
from trainer.models.function import layers_of
from trainer.models.network import Network
from trainer.models.recurrent import char_lstm, lstm

__all__ = [
    "Network",
    "autoencoder",
    "char_lstm",
    "cnn",
    "layers",
    "layers_of",
    "lstm",
    "mlp",
    "resnet",
    "softmax",
]
