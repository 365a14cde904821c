"""Data sets of OpenML, through scikit-learn's loader."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Column, Table
from trainer.data.parts import Data
from trainer.data.splits import Split
from trainer.data.tabular import Roles, data_of_tables
from trainer.data.targets import Task
from trainer.errors import UsageError

log = logging.getLogger(__name__)


def openml(
    name: str,
    version: int | str = "active",
    target: str | None = None,
    features: list[str] | None = None,
    exclude: list[str] | None = None,
    task: Task = "auto",
    folder: str | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Fetch a data set from OpenML, once: from then on it is read from the disk.

    Inputs are float32 of shape (features,). Which columns hold categories the set itself says; they become
    one input a category, as in `trainer.data.csv`. Missing values are refused.

    Parameters
    ----------
    name : str
        The set's name, `credit-g` for one.
    version : int or str, default "active"
        The version of the set; `active` is the oldest one that is still active, and which that is may change:
        give a number to have the same data always.
    target : str, optional
        The column to predict; the set's own choice where omitted.
    features, exclude : list of str, optional
        The columns to predict from, all but the target where omitted, and those to leave out.
    task : {"auto", "classes", "values"}, default "auto"
        As in `trainer.data.csv`.
    folder : str, optional
        Where fetched sets are kept; scikit-learn's own folder where omitted.
    validation_fraction, test_fraction : float, default 0.15
        The share of all rows that the part takes: at least 0, together below 1.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where the set cannot be fetched or is not known, or its columns do not serve.

    Notes
    -----
    Vanschoren, van Rijn, Bischl & Torgo 2013, "OpenML: networked science in machine learning".
    """
    bundle = _fetch(name, version, folder)
    table = _table(bundle, f"OpenML's {name}")
    target = target or _default_target(bundle, table)
    columns = Roles(target, features, exclude, None, task).columns(table)
    categorical = [column for column in columns if isinstance(table.columns[column].values, list)]
    roles = Roles(target, features, exclude, categorical, task)
    return data_of_tables(table, roles, Split(validation_fraction, test_fraction, seed))


def _fetch(name: str, version: int | str, folder: str | None) -> Any:
    # Importing sklearn.datasets takes longer than all other imports of a start together.
    from sklearn import datasets

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # This parser needs no pandas. The target is taken among the features, since scikit-learn fails
            # on one with missing values.
            bundle = datasets.fetch_openml(
                name,
                version=version,
                target_column=None,
                data_home=folder,
                as_frame=False,
                parser="liac-arff",
            )
        for warning in caught:
            log.warning("%s", _first_line(warning.message))
    except (OSError, EOFError) as error:
        reason = getattr(error, "reason", error)
        raise UsageError(
            f"data.name={name}: OpenML cannot be reached ({reason}); run once where it can be, or copy the "
            "folder of a machine that has the set and name it by data.folder"
        ) from error
    except ValueError as error:
        raise UsageError(f"data.name={name}, data.version={version}: {_first_line(error)}") from error
    return bundle


def _table(bundle: Any, source: str) -> Table:
    if not isinstance(bundle.data, np.ndarray):
        raise UsageError(
            f"{source} is sparse, which is not supported; choose a dense version by data.version"
        )
    return Table(
        source,
        {
            column: _column(source, column, bundle.data[:, place], bundle.categories.get(column))
            for place, column in enumerate(bundle.feature_names)
        },
    )


def _default_target(bundle: Any, table: Table) -> str:
    target = bundle.details.get("default_target_attribute")
    if target not in table.columns:
        raise UsageError(
            f"{table.source} names no single column to predict; choose one by data.target: "
            f"{', '.join(table.columns)}"
        )
    return str(target)


def _column(source: str, name: str, values: NDArray[Any], categories: Sequence[str] | None) -> Column:
    def at(row: int) -> str:
        return f"{source}, row {row + 1:,}, column {name!r}"

    if categories is None:
        return Column(values.astype(np.float64), at)
    return Column([None if np.isnan(place) else categories[int(place)] for place in values], at)


def _first_line(error: BaseException | str) -> str:
    told = error.args[0] if isinstance(error, BaseException) and error.args else error
    return str(told).strip().partition("\n")[0].rstrip(". ")
