"""Augmentation: training inputs changed at random, anew in each epoch.

Each function takes a whole batch and a random generator, and returns a new batch of the same shape and
dtype. Images are (examples, channels, rows, columns). What is drawn is drawn for each example apart, the same
for all channels of an image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Generator = np.random.Generator


def shift(inputs: Array, generator: Generator, pixels: int = 2, fill: float = 0.0) -> Array:
    """Move each image by up to some pixels down or up, and right or left.

    Output pixel (r, c) is input pixel (r − dy, c − dx), with dy and dx uniform over the whole numbers from
    −pixels to pixels.

    Parameters
    ----------
    inputs : array, (examples, channels, rows, columns)
        The batch.
    generator : numpy.random.Generator
        Draws two numbers an image.
    pixels : int, default 2
        The longest way along each axis, at least 0.
    fill : float, default 0
        What comes in at the border.

    Raises
    ------
    ValueError
        Where inputs are no images or `pixels` is below 0.
    """
    _check_images(inputs, "shift")
    if pixels < 0:
        raise ValueError(f"pixels={pixels}: give a whole number of at least 0")
    return _windows(inputs, generator, pixels, fill)


def crop(inputs: Array, generator: Generator, padding: int = 4, fill: float = 0.0) -> Array:
    """Pad each image on all sides and cut a piece of the image's own size out of it, at random.

    It is `shift` under the name that image classification knows: every place of the piece is equally likely
    (He et al. 2015, arXiv:1512.03385, section 4.2, with a padding of 4 on images of 32 × 32).

    Parameters
    ----------
    inputs : array, (examples, channels, rows, columns)
        The batch.
    generator : numpy.random.Generator
        Draws two numbers an image.
    padding : int, default 4
        Pixels a side, at least 0.
    fill : float, default 0
        What the images are padded with.

    Raises
    ------
    ValueError
        Where inputs are no images or `padding` is below 0.
    """
    _check_images(inputs, "crop")
    if padding < 0:
        raise ValueError(f"padding={padding}: give a whole number of at least 0")
    return _windows(inputs, generator, padding, fill)


def flip(inputs: Array, generator: Generator, horizontal: float = 0.5, vertical: float = 0.0) -> Array:
    """Mirror each image with some probability.

    Parameters
    ----------
    inputs : array, (examples, channels, rows, columns)
        The batch.
    generator : numpy.random.Generator
        Draws two numbers an image.
    horizontal, vertical : float, default 0.5 and 0
        The probability of exchanging left and right, and top and bottom: from 0 to 1.

    Raises
    ------
    ValueError
        Where inputs are no images or a probability is out of its range.
    """
    _check_images(inputs, "flip")
    for name, probability in (("horizontal", horizontal), ("vertical", vertical)):
        if not 0 <= probability <= 1:
            raise ValueError(f"{name}={probability}: give a probability from 0 to 1")
    drawn = generator.random((len(inputs), 2))
    mirrored = inputs.copy()
    for axis, probability in ((3, horizontal), (2, vertical)):
        chosen = drawn[:, 3 - axis] < probability
        mirrored[chosen] = np.flip(mirrored[chosen], axis)
    return mirrored


def noise(inputs: Array, generator: Generator, deviation: float = 0.1) -> Array:
    """Add a normally distributed number of mean 0 to each number of the inputs, whatever their shape.

    Parameters
    ----------
    inputs : array of floats, (examples, ...)
        The batch.
    generator : numpy.random.Generator
        Draws a number for each number of the inputs.
    deviation : float, default 0.1
        The standard deviation, at least 0, in the units of the data as they come, before normalisation.

    Raises
    ------
    ValueError
        Where inputs are no floats or `deviation` is below 0.
    """
    if not np.issubdtype(inputs.dtype, np.floating):
        raise ValueError(f"noise is for inputs of floats, but these are {inputs.dtype}")
    if deviation < 0:
        raise ValueError(f"deviation={deviation}: give a number of at least 0")
    # Drawn in float32 whatever the inputs' dtype is: both precisions train on the same noise.
    drawn = generator.standard_normal(inputs.shape, dtype=np.float32)
    drawn *= np.float32(deviation)
    return drawn + inputs


def _check_images(inputs: Array, name: str) -> None:
    if inputs.ndim != 4:
        raise ValueError(
            f"{name} is for images, (channels, rows, columns), but one input has the shape {inputs.shape[1:]}"
        )


def _windows(inputs: Array, generator: Generator, border: int, fill: float) -> Array:
    examples, _, rows, columns = inputs.shape
    tops, lefts = generator.integers(0, 2 * border, (2, examples), endpoint=True)
    sides = ((0, 0), (0, 0), (border, border), (border, border))
    padded = np.pad(inputs, sides, constant_values=fill)
    windows = sliding_window_view(padded, (rows, columns), axis=(2, 3))  # type: ignore[call-overload]
    shifted: Array = windows[np.arange(examples), :, tops, lefts]
    return shifted
