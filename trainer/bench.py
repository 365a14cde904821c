"""A compiled network, and how it begins anew for another run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from trainer.data import Data
from trainer.graph import Compiled, Graph, Predict, Seam, build_beginning, compile_prediction
from trainer.likeness import Likeness
from trainer.models import Network
from trainer.settings import Settings
from trainer.sharing import GraphKey
from trainer.state import load_state, state_variables
from trainer.training import Resident


@dataclass(eq=False)
class Bench:
    """A network with its graph and its compiled functions, which one run at a time works with.

    Attributes
    ----------
    key : GraphKey
        What shapes the functions (`trainer.sharing.graph_key`).
    maker : str
        The name of the folder of the run that made them.
    network : Network
        What is trained.
    graph : Graph
        Its expressions; with the hyperparameters of the run that works here.
    resident : Resident, optional
        Where the training part is resident.
    seam : Seam
        Called in each step before it writes.
    likeness : Likeness, optional
        Where not all that it is made of is this program's own.
    compiled : Compiled, optional
        None until it was compiled.
    """

    key: GraphKey
    maker: str
    network: Network
    graph: Graph
    resident: Resident | None = None
    likeness: Likeness | None = None
    seam: Seam = field(default_factory=Seam)
    compiled: Compiled | None = None

    def begin_anew(self, settings: Settings, network: Network, data: Data) -> bool:
        """Have everything as in a process in which these settings are the first.

        Parameters
        ----------
        settings : Settings
            Of the same key.
        network : Network
            Built of them; its values are taken, and it is not used any more.
        data : Data
            Whose training part the step is to have, where that is resident.

        Returns
        -------
        bool
            False where the settings need other variables than there are; nothing is changed then.
        """
        assert self.compiled is not None
        optimizer = build_beginning(settings, network)
        own, fresh = self.variables, state_variables(network, optimizer)
        used = self.graph.optimizer.hyperparameters
        if list(own) != list(fresh) or list(used) != list(optimizer.hyperparameters):
            return False
        load_state(own, {name: variable.get_value() for name, variable in fresh.items()})
        optimizer.hyperparameters.take_over(used)
        self.graph = self.graph.with_hyperparameters(optimizer.hyperparameters)
        if self.resident is not None:
            self.resident = self.resident.holding(data.train)
        self.compiled.step.forget()
        return True

    @property
    def variables(self) -> dict[str, Any]:
        """Every shared variable that a training step changes, by name."""
        return state_variables(self.network, self.graph.optimizer)

    @cached_property
    def predict(self) -> Predict:
        """The forward graph alone, compiled when it is first called."""
        return compile_prediction(self.network)

    @property
    def can_be_used_again(self) -> bool:
        """Whether `begin_anew` reaches all variables that the functions read or write."""
        if self.compiled is None:
            return False
        graph = self.graph
        known = {*self.variables.values(), *graph.optimizer.hyperparameters.shared, *graph.carried}
        if graph.accumulation is not None:
            known.update([graph.accumulation.begun, *graph.accumulation.updates])
        if self.resident is not None:
            known.update(self.resident.arrays.values())
        return self.compiled.shared <= known

    @property
    def state_bytes(self) -> int:
        """What the state takes, on the device."""
        return sum(_bytes_of(variable) for variable in self.variables.values())


def _bytes_of(variable: Any) -> int:
    value = variable.get_value(borrow=True, return_internal_type=True)
    return int(math.prod(value.shape)) * np.dtype(variable.dtype).itemsize
