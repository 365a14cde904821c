"""A network from settings: the model's layers, between those that normalize inputs and outputs."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from trainer.data import Data
from trainer.data.facts import Facts
from trainer.data.normalization import Normalization, fit_inputs, fit_targets
from trainer.errors import UsageError, nearest
from trainer.layers.normalize import Denormalize, Normalize
from trainer.models import Network, layers_of
from trainer.settings import Settings

log = logging.getLogger(__name__)

Weights = Mapping[str, NDArray[Any]]


class Scales(NamedTuple):
    """The normalization of inputs and of targets; None where there is none."""

    inputs: Normalization | None = None
    targets: Normalization | None = None

    @classmethod
    def fitted(cls, settings: Settings, data: Data) -> Scales:
        """Fit both on the training part alone."""
        return cls(
            fit_inputs(data.train, settings.normalization),
            fit_targets(data.train, settings.target_normalization),
        )

    @classmethod
    def saved(cls, weights: Weights) -> Scales:
        """Find both among saved weights."""

        def found(layer: str) -> Normalization | None:
            names = (f"{layer}.offset", f"{layer}.scale")
            if not all(name in weights for name in names):
                return None
            return Normalization(*(weights[name].astype(np.float64) for name in names))

        return cls(found("normalize_1"), found("denormalize_1"))


def build_network(settings: Settings, facts: Facts, scales: Scales) -> Network:
    """Build the network that the settings describe, for data with these facts."""
    seed = settings.training.seed
    layers = layers_of(
        settings.model,
        facts.input_shape,
        facts.outputs,
        vocabulary=len(facts.vocabulary) if facts.vocabulary is not None else None,
        seed=seed,
        input_dtype=facts.input_dtype,
    )
    front = [Normalize(*scales.inputs)] if scales.inputs else []
    behind = [Denormalize(*scales.targets)] if scales.targets else []
    return Network([*front, *layers, *behind], facts.input_shape, seed, facts.input_dtype)


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file.

    Raises
    ------
    UsageError
        Where there is no such file, or it is none or damaged.
    """
    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a safetensors file") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is no sound safetensors file ({error})") from error


def start_from(network: Network, path: Path, pattern: str) -> None:
    """Give the network those weights of a file whose names match a pattern, and log which did and did not.

    Parameters
    ----------
    network : Network
        Whose weights are set.
    path : Path
        A safetensors file.
    pattern : str
        As for file names: `*` takes all, `conv2d_*` the convolutions.

    Raises
    ------
    UsageError
        Where no name matches, a matching name is none of the network's, or shapes differ.
    """
    saved, own = read_weights(path), network.weights()
    chosen = {name: value for name, value in saved.items() if fnmatch.fnmatchcase(name, pattern)}
    if not chosen:
        raise UsageError(
            f"model.weights_match={pattern} matches nothing in {path}: {nearest(pattern, saved)}"
        )
    taken = {name: value for name, value in chosen.items() if name in own}
    if not taken:
        raise UsageError(f"model.weights={path} has none of the network's weights: it has {', '.join(saved)}")
    for name, value in taken.items():
        if np.shape(value) != own[name].shape:
            raise UsageError(
                f"model.weights={path}: {name} has the shape {np.shape(value)}, but the network's has "
                f"{own[name].shape}: leave it out by model.weights_match"
            )
    network.load_weights({**own, **taken})
    log.info("weights from %s: %s", path, ", ".join(taken))
    for what, others in (("left in the file", saved), ("not from the file", own)):
        names = [name for name in others if name not in taken]
        if names:
            log.info("%s: %s", what, ", ".join(names))
