"""From tables to a data set, whatever the tables were read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.columns import Table
from trainer.data.encoding import Encoding
from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.data.targets import Targets, Task, read_more_targets, read_targets
from trainer.errors import UsageError


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are for.

    Parameters
    ----------
    target : str, int, or sequence of str
        The column that is to be predicted; several make targets of several values.
    features : sequence of str or None
        The columns that it is predicted from; all others where None.
    exclude : sequence of str or None
        Columns to leave out of them.
    categorical : sequence of str or None
        Those of them that hold names of categories.
    task : str
        `auto`, `classes` or `values`.
    """

    target: str | int | Sequence[str]
    features: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    categorical: Sequence[str] | None = None
    task: Task = "auto"

    @property
    def targets(self) -> list[str]:
        """The names of the target's columns."""
        return [str(self.target)] if isinstance(self.target, (str, int)) else list(self.target)

    def columns(self, table: Table) -> list[str]:
        """Return the columns that become inputs.

        Raises
        ------
        UsageError
            Where a name is not in the table, none is left, or the target is among them.
        """
        for name in self.targets:
            table.column(name, "data.target")
        for name in self.exclude or ():
            table.column(name, "data.exclude")
        left_out = {*self.targets, *(self.exclude or ())}
        chosen = [name for name in self.features or table.columns if name not in left_out]
        for name in self.features or ():
            table.column(name, "data.features")
            if name in self.targets:
                raise UsageError(f"data.features names {name!r}, which is the target; leave it out")
        if not chosen:
            raise UsageError(
                f"{table.source}: no column is left to predict {self.target} from; give features"
            )
        for name in self.categorical or ():
            table.column(name, "data.categorical")
            if name not in chosen:
                raise UsageError(
                    f"data.categorical names {name!r}, which is none of the features: {', '.join(chosen)}"
                )
        return chosen


def data_of_tables(
    train: Table, roles: Roles, split: Split, validation: Table | None = None, test: Table | None = None
) -> Data:
    """Make a data set of one table, divided, or of up to three.

    Parameters
    ----------
    train : Table
        What is divided where the other parts have no table of their own.
    roles : Roles
        What the columns are for.
    split : Split
        How to divide.
    validation, test : Table, optional
        The tables of the other parts.
    """
    columns = roles.columns(train)
    targets = _targets(train, roles)
    places = split.places(targets.values, targets.classes, validation=validation is None, test=test is None)
    encoding = Encoding.fit(train, columns, roles.categorical or (), places[0])
    inputs = encoding.encode(train)
    parts = tuple(
        Part(inputs[rows], targets.values[rows])
        if table is None
        else Part(encoding.encode(table), _targets(table, roles, targets).values)
        for rows, table in zip(places, (None, validation, test), strict=True)
    )
    return Data(
        parts[0],
        parts[1],
        parts[2],
        input_shape=(inputs.shape[1],),
        outputs=targets.outputs,
        classes=targets.classes,
        name=train.source,
        class_names=targets.class_names,
        feature_names=encoding.names,
    )


def _targets(table: Table, roles: Roles, training: Targets | None = None) -> Targets:
    columns = [table.column(name, "data.target") for name in roles.targets]
    if not columns:
        raise UsageError("data.target=[] names no column; give one")
    if len(columns) == 1 and isinstance(roles.target, (str, int)):
        return (
            read_targets(columns[0], roles.task)
            if training is None
            else read_more_targets(columns[0], training)
        )
    if roles.task == "classes":
        raise UsageError(
            f"data.target={roles.targets} names several columns, whose targets are values; classes stand in "
            "one column"
        )
    return Targets(np.column_stack([column.numbers() for column in columns]).astype(np.float32))
