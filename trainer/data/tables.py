"""Data sets that are tables in files: CSV and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Table
from trainer.data.encoding import Encoding
from trainer.data.parts import Data
from trainer.data.splits import Split
from trainer.data.table_files import read_csv, read_parquet
from trainer.data.tabular import Roles, data_of_tables
from trainer.data.targets import Task


def csv(
    file: str,
    target: str | int | list[str],
    features: list[str] | None = None,
    exclude: list[str] | None = None,
    categorical: list[str] | None = None,
    task: Task = "auto",
    separator: str = ",",
    header: bool = True,
    encoding: str = "utf-8",
    validation_file: str | None = None,
    test_file: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Read a table from a CSV file, gzipped or not.

    Inputs are float32 of shape (features,). A column listed in `categorical` becomes one input a category, 1
    where the row has it and 0 elsewhere; its categories are those of the training part, sorted, and another
    one that turns up in the other parts is all zeros (a warning says so). All other columns must hold finite
    numbers: missing values are refused with line and column, for how to fill them is a decision that belongs
    to a person.

    Parameters
    ----------
    file : str
        The file, relative to the folder in which the command runs. It is read whole.
    target : str, int or list of str
        The name of the column to predict. A list makes targets of several values, (examples, columns).
    features : list of str, optional
        The columns to predict from, in this order; all but the target where omitted.
    exclude : list of str, optional
        Columns to leave out, a row's number for one.
    categorical : list of str, optional
        The columns that hold names of categories.
    task : {"auto", "classes", "values"}, default "auto"
        Whether the target is a class or a value. `auto`: texts and whole numbers are classes, other numbers
        values; where it cannot tell, an error says so. Classes are numbered in sorted order.
    separator : str, default ","
        The character between cells.
    header : bool, default True
        Whether the first row names the columns; without one they are called 1, 2, 3 and so on.
    encoding : str, default "utf-8"
        Of the file's text.
    validation_file, test_file : str, optional
        Files with the same columns; where one is given, the part is not split off `file`.
    validation_fraction, test_fraction : float, default 0.15
        The share of `file`'s rows that the part takes: at least 0, together below 1. The split is stratified
        for classes.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where a file cannot be read or is damaged, a column or a value is missing, text stands where a number
        belongs, a number is not finite, or a class is unknown; with file, line and column.
    """

    def read(path: Path) -> Table:
        return read_csv(path, separator, header, encoding)

    roles = Roles(target, features, exclude, categorical, task)
    split = Split(validation_fraction, test_fraction, seed)
    return _data(read, [file, validation_file, test_file], roles, split)


def parquet(
    file: str,
    target: str | int | list[str],
    features: list[str] | None = None,
    exclude: list[str] | None = None,
    categorical: list[str] | None = None,
    task: Task = "auto",
    validation_file: str | None = None,
    test_file: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Read a table from a Parquet file; pyarrow reads it (`pip install 'theano-trainer[tables]'`).

    All arguments are those of `csv`. Truth values are the numbers 0 and 1; a column of texts is a feature
    only where `categorical` lists it. Errors name the row, counted from 1.

    Raises
    ------
    UsageError
        As `csv`, and where pyarrow is not installed.
    """
    roles = Roles(target, features, exclude, categorical, task)
    split = Split(validation_fraction, test_fraction, seed)
    return _data(read_parquet, [file, validation_file, test_file], roles, split)


def table_inputs(table: Table, feature_names: Sequence[str]) -> NDArray[np.float32]:
    """Make inputs of a table that has no targets, as they were made of the table trained on.

    Parameters
    ----------
    table : Table
        What `read_csv` or `read_parquet` gives; it may have more columns than are needed, in any order.
    feature_names : sequence of str
        `Data.feature_names` of the set trained on.

    Returns
    -------
    array, (rows, len(feature_names))

    Raises
    ------
    UsageError
        Where a column or a value is missing, is no number or is not finite.
    """
    return Encoding.from_names(feature_names, table).encode(table)


def _data(read: Callable[[Path], Table], files: Sequence[str | None], roles: Roles, split: Split) -> Data:
    tables = [None if file is None else read(Path(file).expanduser()) for file in files]
    train, validation, test = tables
    assert train is not None
    return data_of_tables(train, roles, split, validation, test)
