"""Data sets that come as IDX files in a folder: MNIST, Fashion-MNIST, and any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.download import fetch
from trainer.data.idx import read_idx
from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.errors import UsageError

_CLASSES = 10
TRAIN_INPUTS = "train-images-idx3-ubyte"
TRAIN_TARGETS = "train-labels-idx1-ubyte"
TEST_INPUTS = "t10k-images-idx3-ubyte"
TEST_TARGETS = "t10k-labels-idx1-ubyte"
_FILES = (TRAIN_INPUTS, TRAIN_TARGETS, TEST_INPUTS, TEST_TARGETS)

# Of the gzipped files as their makers publish them.
_MNIST_HASHES = {
    TRAIN_INPUTS: "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    TRAIN_TARGETS: "md5:d53e105ee54ea40749a09fcbcd1e9432",
    TEST_INPUTS: "md5:9fb629c4189551a2d022fa330f9573f3",
    TEST_TARGETS: "md5:ec29112dd5afa0611ce80d1b7f02629c",
}
_FASHION_MNIST_HASHES = {
    TRAIN_INPUTS: "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    TRAIN_TARGETS: "md5:25c81989df183df01b3e8a0aad5dffbe",
    TEST_INPUTS: "md5:bef4ecab320f06d8554ea6380940ec79",
    TEST_TARGETS: "md5:bb300cfdad3c16e7a12a480ee83cd310",
}
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
FASHION_MNIST_MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def mnist(
    folder: str = "data/mnist",
    validation_size: int = 10_000,
    download: bool = False,
    mirror: str = MNIST_MIRROR,
) -> Data:
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
    download : bool, default False
        Whether to fetch files that are missing, 12 MB in all, into `folder`; they are checked against their
        published hashes.
    mirror : str
        The address that the gzipped files are fetched from.

    Raises
    ------
    UsageError
        Where a file is missing, damaged, cannot be fetched or does not fit its sibling, or `validation_size`
        leaves nothing to train on.

    Notes
    -----
    LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    hashes = _MNIST_HASHES if download else None
    files = _find(Path(folder).expanduser(), hashes, mirror)
    return _images("mnist", files, validation_size, tuple(str(digit) for digit in range(_CLASSES)))


def fashion_mnist(
    folder: str = "data/fashion_mnist",
    validation_size: int = 10_000,
    download: bool = False,
    mirror: str = FASHION_MNIST_MIRROR,
) -> Data:
    """Read Fashion-MNIST: 70,000 grey images of 28 × 28 pixels of clothes in 10 classes.

    All is as in `mnist`, from 0 (background) to 1; a download is 30 MB.

    Parameters
    ----------
    folder : str, default "data/fashion_mnist"
        Where the four IDX files are.
    validation_size, download, mirror
        As in `mnist`.

    Notes
    -----
    Xiao, Rasul & Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms".
    """
    hashes = _FASHION_MNIST_HASHES if download else None
    files = _find(Path(folder).expanduser(), hashes, mirror)
    return _images("fashion_mnist", files, validation_size, FASHION_MNIST_CLASSES)


def idx(
    folder: str,
    train_inputs: str = TRAIN_INPUTS,
    train_targets: str = TRAIN_TARGETS,
    test_inputs: str | None = TEST_INPUTS,
    test_targets: str | None = TEST_TARGETS,
    classes: int | None = None,
    scale: float | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Read any data set in IDX files: EMNIST, KMNIST, one of your own.

    Inputs become float32, multiplied by `scale`; those of two dimensions are taken as grey images, (1, rows,
    columns), others as they are. Targets are class numbers from 0.

    Parameters
    ----------
    folder : str
        Where the files are, relative to the folder in which the command runs.
    train_inputs, train_targets : str
        Their names, without `.gz`, which they may have or not; MNIST's where omitted.
    test_inputs, test_targets : str or None
        The names of the test part's files, MNIST's where omitted; where both are null, the test part is split
        off.
    classes : int, optional
        How many classes there are: labels go from 0 to classes - 1. Where omitted, one more than the largest
        label of the training file.
    scale : float, optional
        What inputs are multiplied by; where omitted, 1/255 for bytes and 1 for other numbers.
    validation_fraction, test_fraction : float, default 0.15
        The share of the training files' examples that the part takes, stratified: at least 0, together below
        1. `test_fraction` counts only without test files.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where a file is missing, damaged or does not fit its sibling, a label is none of the classes, or an
        input is not finite; with file and place.
    """
    if (test_inputs is None) != (test_targets is None):
        raise UsageError("data.test_inputs and data.test_targets belong together; give both or neither")
    root = Path(folder).expanduser()
    names = [name for name in (train_inputs, train_targets, test_inputs, test_targets) if name is not None]
    inputs_file, targets_file, *test_files = _all_of(root, names)
    inputs = _scaled(inputs_file, scale)
    targets = _labels(targets_file, inputs_file, len(inputs), classes)
    count = classes or int(targets.max()) + 1
    split = Split(validation_fraction, test_fraction, seed)
    places = split.places(targets, count, test=not test_files)
    train, validation, test = (Part(inputs[rows], targets[rows]) for rows in places)
    if test_files:
        more = _scaled(test_files[0], scale)
        if more.shape[1:] != inputs.shape[1:]:
            raise UsageError(
                f"{test_files[0]}: its inputs have the shape {more.shape[1:]}, those of {inputs_file.name} "
                f"{inputs.shape[1:]}"
            )
        test = Part(more, _labels(test_files[1], test_files[0], len(more), count))
    return Data(
        train, validation, test, input_shape=inputs.shape[1:], outputs=count, classes=count, name=root.name
    )


def _find(folder: Path, hashes: Mapping[str, str] | None, mirror: str) -> list[Path]:
    missing = [name for name in _FILES if _existing(folder, name) is None]
    if missing and hashes is not None:
        fetch(folder, {f"{name}.gz": hashes[name] for name in missing}, mirror)
    return _all_of(folder, _FILES, " let them be fetched by data.download=true,")


def _all_of(folder: Path, names: tuple[str, ...] | list[str], cure: str = "") -> list[Path]:
    found = [_existing(folder, name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise UsageError(
            f"data.folder={folder} lacks {', '.join(missing)}:{cure} put the files (gzipped as .gz or not) "
            f"into {folder.resolve()}, or name the folder that has them with data.folder=FOLDER"
        )
    return [path for path in found if path is not None]


def _existing(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _images(name: str, files: list[Path], validation_size: int, class_names: tuple[str, ...]) -> Data:
    train_images, train_labels, test_images, test_labels = files
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
        name=name,
        class_names=class_names,
    )


def _read_part(images_file: Path, labels_file: Path) -> Part:
    images = read_idx(images_file)
    _check_kind(images_file, images, "images (bytes in 3 dimensions)", images.dtype == np.uint8, 3)
    return Part(
        _in_float32(images_file, images, None), _labels(labels_file, images_file, len(images), _CLASSES)
    )


def _scaled(path: Path, scale: float | None) -> NDArray[np.float32]:
    values = read_idx(path)
    _check_kind(path, values, "inputs (in 2 dimensions or more)", True, max(2, values.ndim))
    return _in_float32(path, values, scale)


def _in_float32(path: Path, values: NDArray[Any], scale: float | None) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        inputs = values.astype(np.float32)
    if values.dtype.kind == "f" and not np.isfinite(inputs).all():
        place = [int(index) for index in np.argwhere(~np.isfinite(inputs))[0]]
        raise UsageError(
            f"{path}: the number at {place} is {values[tuple(place)]:g}, not a finite number of float32"
        )
    # A division by 255 brings 255 to 1 exactly.
    if scale is not None:
        inputs *= np.float32(scale)
    elif values.dtype == np.uint8:
        inputs /= 255
    return inputs[:, np.newaxis] if inputs.ndim == 3 else inputs


def _labels(path: Path, inputs_file: Path, count: int, classes: int | None) -> NDArray[np.int32]:
    labels = read_idx(path)
    _check_kind(path, labels, "labels (whole numbers in 1 dimension)", labels.dtype.kind in "iu", 1)
    if len(labels) != count:
        raise UsageError(f"{path}: has {len(labels):,} labels, but {inputs_file.name} has {count:,} images")
    last = np.inf if classes is None else classes - 1
    outside = np.flatnonzero((labels < 0) | (labels > last))
    if outside.size:
        place = int(outside[0])
        allowed = "from 0" if classes is None else f"from 0 to {classes - 1}"
        raise UsageError(f"{path}: label {place + 1:,} of {count:,} is {labels[place]}; labels go {allowed}")
    return labels.astype(np.int32)


def _check_kind(path: Path, values: NDArray[Any], wanted: str, fits: bool, dimensions: int) -> None:
    if not fits or values.ndim != dimensions or 0 in values.shape:
        raise UsageError(
            f"{path}: holds {values.dtype} numbers of the shape {values.shape}; {wanted} belong here"
        )


def _size(part: Part) -> str:
    return " × ".join(str(length) for length in part.inputs.shape[2:])
