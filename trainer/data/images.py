"""Data sets that are folders of images, a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.errors import UsageError, nearest

Channels = Literal[1, 3]


def image_folder(
    folder: str,
    size: int | list[int],
    channels: Channels = 3,
    validation_folder: str | None = None,
    test_folder: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Read images from the subfolders of a folder; each subfolder is a class, named by it.

    Inputs are float32 of shape (channels, rows, columns), from 0 (black) to 1 (white), and stay in memory: 4
    bytes a number. Files whose names begin with a dot are passed over; any other must be an image of a format
    that Pillow knows (PNG, JPEG, GIF, BMP, TIFF, WebP, ...), at any depth below the class's folder.

    Parameters
    ----------
    folder : str
        The folder, relative to the one in which the command runs.
    size : int or list of two int
        What images are resized to, in pixels: [rows, columns], or one number for both. Proportions are not
        kept.
    channels : {1, 3}, default 3
        1 for grey, 3 for red, green and blue.
    validation_folder, test_folder : str, optional
        Folders with subfolders of the same names; where one is given, the part is not split off `folder`.
    validation_fraction, test_fraction : float, default 0.15
        The share of the images that the part takes, the same for each class: at least 0, together below 1.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where a folder is missing or has fewer than two classes, a class has no image, a part has a class that
        `folder` lacks, or a file is no sound image.
    """
    extent = _extent(size)
    root = Path(folder).expanduser()
    classes = _classes(root)
    if len(classes) < 2:
        raise UsageError(
            f"data.folder={folder} has {len(classes)} subfolders; each is a class, and it takes two"
        )
    inputs, targets = _read(root, classes, classes, extent, channels)
    split = Split(validation_fraction, test_fraction, seed)
    places = split.places(
        targets, len(classes), validation=validation_folder is None, test=test_folder is None
    )
    train, validation, test = (Part(inputs[rows], targets[rows]) for rows in places)
    if validation_folder is not None:
        validation = _other(validation_folder, classes, extent, channels)
    if test_folder is not None:
        test = _other(test_folder, classes, extent, channels)
    return Data(
        train,
        validation,
        test,
        input_shape=inputs.shape[1:],
        outputs=len(classes),
        classes=len(classes),
        name=root.name or str(root),
        class_names=tuple(classes),
    )


def read_image(path: Path, size: Sequence[int], channels: int) -> NDArray[np.uint8]:
    """Read one image.

    Transparent parts are laid on white, 16-bit grey is brought to 8 bits, and a camera's note on how the
    picture was held is followed.

    Parameters
    ----------
    path : Path
        The file.
    size : two int
        Rows and columns of the result.
    channels : int
        1 for grey, 3 for red, green and blue.

    Returns
    -------
    array of bytes, (channels, rows, columns)

    Raises
    ------
    UsageError
        Where the file is no sound image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            upright: Any = ImageOps.exif_transpose(image)
            plain = _in_bytes(upright).convert("L" if channels == 1 else "RGB")
            resized = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    # Pillow's readers say by many exceptions that bytes are not what they should be.
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError) as error:
        raise _no_image(path, error) from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise UsageError(f"{path}: is too large an image ({error}); make it smaller") from error
    array = np.asarray(resized, np.uint8)
    return array[np.newaxis] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _in_bytes(image: Any) -> Any:
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image


def _no_image(path: Path, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else "damaged"
    return UsageError(f"{path}: is no image that can be read ({reason}); remove it or write it anew")


def _read(
    root: Path, present: Sequence[str], classes: Sequence[str], size: tuple[int, int], channels: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    files = [(path, classes.index(name)) for name in present for path in _files(root / name)]
    inputs = np.empty((len(files), channels, *size), np.float32)
    # Pillow decodes outside Python's lock.
    with ThreadPoolExecutor() as pool:
        images = pool.map(lambda file: read_image(file[0], size, channels), files)
        for place, image in enumerate(images):
            np.divide(image, np.float32(255), out=inputs[place])
    return inputs, np.array([number for _, number in files], np.int32)


def _files(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(f"{folder}: has no images; add some or remove the folder")
    return found


def _classes(root: Path) -> list[str]:
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder; name one whose subfolders hold images")
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _other(folder: str, classes: Sequence[str], size: tuple[int, int], channels: int) -> Part:
    root = Path(folder).expanduser()
    return Part(*_read(root, _known(root, classes), classes, size, channels))


def _known(root: Path, classes: Sequence[str]) -> list[str]:
    present = _classes(root)
    if not present:
        raise UsageError(f"{root}: has no subfolders; each is a class, as in the training folder")
    for name in present:
        if name not in classes:
            raise UsageError(f"{root / name}: is none of the classes trained on: {nearest(name, classes)}")
    return present


def _extent(size: int | Sequence[int]) -> tuple[int, int]:
    lengths = [size, size] if isinstance(size, int) else list(size)
    if len(lengths) != 2 or min(lengths) < 1:
        raise UsageError(
            f"data.size={size} is no size: give [rows, columns] in pixels, or one number for both"
        )
    return lengths[0], lengths[1]
