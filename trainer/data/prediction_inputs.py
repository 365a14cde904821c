"""Inputs to predict for, read from files as the training data was."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Table
from trainer.data.facts import Facts
from trainer.data.images import read_image
from trainer.data.table_files import read_csv, read_parquet
from trainer.data.tables import table_inputs
from trainer.errors import UsageError

ARRAYS = (".npz", ".npy")
TABLES = (".csv", ".parquet")
CSV_OPTIONS = ("separator", "header", "encoding")


def read_inputs(path: Path, facts: Facts, source: Mapping[str, Any]) -> tuple[NDArray[Any], list[str]]:
    """Read the inputs of a file, or of all images in a folder.

    Parameters
    ----------
    path : Path
        `.npz` (its array `inputs`, or its only one), `.npy`, `.csv`, `.parquet`, an image, or a folder of
        images.
    facts : Facts
        Of the data that the network was trained on.
    source : mapping
        The arguments of the source of that data: its `scale` and the form of its CSV files hold here too.

    Returns
    -------
    inputs : array, (examples, *input_shape)
    names : list of str
        What each example is called: an image's path, or its number from 1.

    Raises
    ------
    UsageError
        Where the file is missing, broken, or does not fit the network; with the file and the place.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist: give a file or a folder of images")
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        inputs = _array(path) * np.float32(source.get("scale") or 1)
    elif suffix in TABLES:
        inputs = _encoded(_table(path, source), facts)
    else:
        return _images(path, facts)
    shape = inputs.shape[1:]
    if shape != facts.input_shape and shape != (1, *facts.input_shape) and (1, *shape) != facts.input_shape:
        raise UsageError(f"{path}: inputs have the shape {shape}, but the network takes {facts.input_shape}")
    inputs = inputs.reshape(-1, *facts.input_shape)
    return inputs, [str(number) for number in range(1, len(inputs) + 1)]


def _array(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            found = loaded
        else:
            name = "inputs" if "inputs" in loaded.files or len(loaded.files) != 1 else loaded.files[0]
            if name not in loaded.files:
                raise UsageError(f"{path}: has no array `inputs` but {', '.join(loaded.files)}: name one so")
            found = loaded[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no sound {path.suffix} file ({error})") from error
    if found.ndim == 0 or not (np.issubdtype(found.dtype, np.number) or found.dtype == bool):
        raise UsageError(f"{path}: holds {found.dtype} of the shape {found.shape}: give an example a row")
    finite = np.isfinite(found.astype(np.float64)).reshape(len(found), -1).all(axis=1)
    if not finite.all():
        raise UsageError(f"{path}: example {finite.argmin() + 1} has a number that is not finite: mend it")
    return found


def _table(path: Path, source: Mapping[str, Any]) -> Table:
    if path.suffix.lower() == ".parquet":
        return read_parquet(path)
    return read_csv(path, **{name: source[name] for name in CSV_OPTIONS if name in source})


def _encoded(table: Table, facts: Facts) -> NDArray[Any]:
    if facts.feature_names is None:
        raise UsageError(f"{table.source}: the network was not trained on a table: give its inputs as npz")
    return table_inputs(table, facts.feature_names)


def _images(path: Path, facts: Facts) -> tuple[NDArray[Any], list[str]]:
    if len(facts.input_shape) != 3 or facts.input_shape[0] not in (1, 3):
        wanted = " × ".join(map(str, facts.input_shape))
        raise UsageError(f"{path}: the network takes inputs of {wanted}, no images: give npz, csv or parquet")
    channels, *size = facts.input_shape
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in found if file.is_file() and file.name[0] != "."]
    if not files:
        raise UsageError(f"{path}: has no images: give a folder that has some")
    images = np.stack([read_image(file, size, channels) for file in files])
    return images.astype(np.float32) / np.float32(255), [str(file) for file in files]
