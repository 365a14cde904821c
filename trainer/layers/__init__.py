"""Layers: what networks are made of."""

from trainer.layers.base import Builder, Carried, Layer, Row, Shape, apply_layers
from trainer.layers.batch_normalization import BatchNorm
from trainer.layers.containers import Residual, Sequential
from trainer.layers.convolution import Conv2D
from trainer.layers.dense import Dense
from trainer.layers.elementwise import Activation, Dropout
from trainer.layers.embedding import Embedding, ImageRows, Masking, OneHot
from trainer.layers.pooling import AveragePool2D, GlobalPool, MaxPool2D
from trainer.layers.recurrent import GRU, LSTM, SimpleRNN
from trainer.layers.shape import Flatten, Reshape

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AveragePool2D",
    "BatchNorm",
    "Builder",
    "Carried",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalPool",
    "ImageRows",
    "Layer",
    "Masking",
    "MaxPool2D",
    "OneHot",
    "Reshape",
    "Residual",
    "Row",
    "Sequential",
    "Shape",
    "SimpleRNN",
    "apply_layers",
]
