"""Data sets that come as IDX files in a folder: MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.idx import read_idx
from trainer.data.parts import Data, Part
from trainer.errors import UsageError

_CLASSES = 10
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist(folder: str = "data/mnist", validation_size: int = 10_000) -> Data:
    """Read MNIST: 70,000 grey images of 28 × 28 pixels of handwritten digits in 10 classes.

    Inputs are float32 of shape (1, 28, 28), from 0 (paper) to 1 (ink). The last `validation_size` of the
    60,000 training images are the validation part, the 10,000 test images the test part.

    Parameters
    ----------
    folder : str, default "data/mnist"
        Where the four IDX files are, relative to the folder in which the command runs. They have their usual
        names, `train-images-idx3-ubyte` or `train-images.idx3-ubyte` and so on, gzipped (`.gz`) or not.
    validation_size : int, default 10000
        How many examples are held back for validation, 0 for none: the run then watches its training loss.

    Raises
    ------
    UsageError
        Where a file is missing, damaged or does not fit its sibling, or `validation_size` leaves nothing to
        train on.

    Notes
    -----
    LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    train_images, train_labels, test_images, test_labels = _find(Path(folder).expanduser())
    training = _read_part(train_images, train_labels)
    test = _read_part(test_images, test_labels)
    shape = training.inputs.shape[1:]
    if test.inputs.shape[1:] != shape:
        raise UsageError(
            f"{test_images}: its images have {_size(test)} pixels, "
            f"those of {train_images.name} {_size(training)}"
        )
    border = len(training) - validation_size
    if validation_size < 0 or border < 1:
        raise UsageError(
            f"data.validation_size is {validation_size}; it must be at least 0 and below {len(training)}, "
            "the number of training images"
        )
    return Data(
        train=Part(training.inputs[:border], training.targets[:border]),
        validation=Part(training.inputs[border:], training.targets[border:]),
        test=test,
        input_shape=shape,
        outputs=_CLASSES,
        classes=_CLASSES,
        name="mnist",
    )


def _find(folder: Path) -> list[Path]:
    found = [_existing(folder, name) for name in _FILES]
    missing = [name for name, path in zip(_FILES, found, strict=True) if path is None]
    if missing:
        raise UsageError(
            f"data.folder={folder} lacks {', '.join(missing)}: put the files (gzipped as .gz or not) "
            f"into {folder.resolve()}, or name the folder that has them with data.folder=FOLDER"
        )
    return [path for path in found if path is not None]


def _existing(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_part(images_file: Path, labels_file: Path) -> Part:
    images = _read_bytes(images_file, dimensions=3)
    labels = _read_bytes(labels_file, dimensions=1)
    if len(images) != len(labels):
        raise UsageError(
            f"{labels_file}: has {len(labels):,} labels, but {images_file.name} has {len(images):,} images"
        )
    outside = np.flatnonzero(labels >= _CLASSES)
    if outside.size:
        place = int(outside[0])
        raise UsageError(
            f"{labels_file}: label {place + 1:,} of {len(labels):,} is {labels[place]}; labels go from 0 to 9"
        )
    inputs = images[:, np.newaxis].astype(np.float32)
    inputs /= 255
    return Part(inputs, labels.astype(np.int32))


def _read_bytes(path: Path, dimensions: int) -> NDArray[Any]:
    values = read_idx(path)
    if values.dtype != np.uint8 or values.ndim != dimensions or 0 in values.shape:
        wanted = "images (bytes in 3 dimensions)" if dimensions == 3 else "labels (bytes in 1 dimension)"
        raise UsageError(
            f"{path}: holds {values.dtype} numbers of the shape {values.shape}; {wanted} belong here"
        )
    return values


def _size(part: Part) -> str:
    return " × ".join(str(length) for length in part.inputs.shape[2:])
