"""The state of a run as arrays by name: what a checkpoint keeps, and how it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import UsageError
from trainer.models import Network
from trainer.optimizer import Optimizer


def state_variables(network: Network, optimizer: Optimizer) -> dict[str, Any]:
    """Return every shared variable that a training step changes, by a name that stays the same.

    `weights.dense_1.W`, `optimizer.dense_1.W.velocity`, `random.dropout_1.random_1`, `carried.lstm_1.cell`.
    Hyperparameters are not among them: their values, with who sets them, are the `Hyperparameters`' own.
    """
    variables: dict[str, Any] = {}
    groups = (
        ("weights", [*network.parameters, *network.buffers]),
        ("optimizer", optimizer.state),
        ("random", network.random_states),
        ("carried", network.carried_states),
    )
    for group, members in groups:
        for variable in members:
            name = f"{group}.{variable.name}"
            assert variable.name, f"a variable of {group} has no name"
            assert name not in variables, f"{name} stands for two variables"
            variables[name] = variable
    return variables


def check_state(variables: Mapping[str, Any], saved: Mapping[str, NDArray[Any]], source: str) -> None:
    """Refuse a saved state that is not that of these variables.

    Raises
    ------
    UsageError
        With the first array that is missing, unknown, or of another shape or type.
    """
    cure = "resume with the model and the optimizer that the run was started with, or start a new run"
    # Shapes first: a layer that is wider or new shows by the first of its neighbours' weights.
    for name in [name for name in variables if name in saved]:
        value, own = saved[name], variables[name].get_value(borrow=True)
        # A carried state's rows are those of the last batch; every batch begins with as many as it needs.
        if own.shape != value.shape and not name.startswith("carried."):
            raise UsageError(
                f"{source}: {name} has the shape {value.shape}, but this configuration's has {own.shape}: "
                f"{cure}"
            )
        if own.dtype != value.dtype:
            raise UsageError(
                f"{source}: {name} is of type {value.dtype}, but this configuration's is {own.dtype}: {cure}"
            )
    for name in variables:
        if name not in saved:
            raise UsageError(f"{source} has no {name}, which this configuration needs: {cure}")
    for name in saved:
        if name not in variables:
            raise UsageError(f"{source} has {name}, which this configuration has not: {cure}")


def load_state(variables: Mapping[str, Any], saved: Mapping[str, NDArray[Any]]) -> None:
    """Give each variable its saved value, to the same bits."""
    for name, variable in variables.items():
        variable.set_value(np.array(saved[name], order="C"))
