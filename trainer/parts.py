"""What a run is made of, from the data to the plan of its epochs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from trainer.assembly import build_network, start_from
from trainer.bench import Bench
from trainer.data import Batches, Data
from trainer.data.facts import Facts
from trainer.errors import UsageError
from trainer.graph import Graph, build_graph
from trainer.likeness import Likeness, has_foreign_parts
from trainer.loggers.base import Progress
from trainer.measuring import measured_names, monitored
from trainer.models import Network
from trainer.objectives import Objective
from trainer.runtime import Runtime
from trainer.scheduling import check_schedules
from trainer.settings import Settings
from trainer.sharing import graph_key
from trainer.training import choose_feeding, make_resident
from trainer.workshop import Workshop

# Multiplications of a matrix product, from which on several threads are for it: a fifth of a millisecond's.
WORTH_SHARING = 10_000_000


class Parts:
    """The parts of one run, made in the order in which they need each other.

    Parameters
    ----------
    settings : Settings
        What they are made of.
    machine : Runtime
        Where they will work.
    workshop : Workshop
        Where a bench and data may be that fit.
    maker : str
        The name of the run's folder.

    Attributes
    ----------
    data : Data
        The examples, and `facts` what is kept of them.
    objective : Objective
        Loss and metrics.
    bench : Bench
        The network, its graph, and its compiled functions once there are some.
    feeding : str
        How batches come to the step, for the log; `batches` are they.
    monitor, mode : str
        The metric whose best epoch counts, and whether that is its `min` or its `max`.
    progress : Progress
        How many epochs and steps are planned.
    why_compiled : str
        By what the bench differs from those that there were, for the log.
    """

    def __init__(self, settings: Settings, machine: Runtime, workshop: Workshop, maker: str) -> None:
        self.settings, self.machine, self.workshop, self.maker = settings, machine, workshop, maker
        self.bench: Bench | None = None
        self.why_compiled = ""

    @property
    def network(self) -> Network:
        """What is trained."""
        return self._bench.network

    @property
    def graph(self) -> Graph:
        """The expressions."""
        return self._bench.graph

    @property
    def _bench(self) -> Bench:
        if self.bench is None:
            raise AttributeError("the run has no bench yet")
        return self.bench

    def build(self) -> None:
        """Make all of them.

        Raises
        ------
        UsageError
            Where a part does not fit the others.
        """
        self._read()
        self._set_up()
        self._plan()
        self.machine.blas.set_threads(self.product_threads)

    @property
    def product_threads(self) -> int:
        """How many threads a matrix product uses: one where it is small.

        The library's threads wait for each other in a loop. Where another program has the second core, a
        product of some microseconds then takes as long as it takes the other to give way.
        """
        product = self.settings.training.batch_size * self.network.largest_product
        return self.machine.threads if product >= WORTH_SHARING else 1

    def begin_epoch(self) -> None:
        """Begin anew with the states that are carried from batch to batch."""
        self.network.reset_states(self.settings.training.batch_size, training=True)

    def _read(self) -> None:
        self._found = self.workshop.read(self.settings.data)
        self.data: Data = self._found.data
        self.objective: Objective = self.settings.objective()
        self.objective.check(self.data)
        self.facts = Facts.of(self.data, self.objective.outputs(self.data))

    def _set_up(self) -> None:
        settings = self.settings
        scales = self._found.scales(settings)
        network = build_network(settings, self.facts, scales)
        self.objective.check_output(network.output_shape, self.data)
        if network.carries_states and not getattr(self.data.train, "continuous", False):
            raise UsageError(
                "the network carries states from one batch to the next, but the batches of "
                f"{self.data.name} do not continue each other: choose model.carry=false, or "
                "data=text with data.continuous=true"
            )
        if settings.weights is not None:
            start_from(network, Path(settings.weights), settings.weights_match)
        stays, self.feeding = choose_feeding(
            settings.training.feeding,
            self.data.train,
            np.dtype(self.machine.precision).itemsize,
            room=self.machine.free_memory(),
            augmented=bool(settings.augmentation),
        )
        key = graph_key(settings, self.facts, scales, self.objective, resident=stays)
        likeness = None
        if has_foreign_parts(settings, network):
            likeness = Likeness(settings, build_network(settings, self.facts, scales), self.objective)
        self.bench = self.workshop.take(key, likeness)
        if self.bench is not None and self.bench.begin_anew(settings, network, self.data):
            return
        self.why_compiled = self.workshop.why_compiled(key)
        graph = build_graph(settings, network, self.objective)
        resident = make_resident(self.data.train, graph.inputs, graph.targets) if stays else None
        self.bench = Bench(key, self.maker, network, graph, resident, likeness)

    def _plan(self) -> None:
        training, resident, optimizer = self.settings.training, self._bench.resident, self.graph.optimizer
        self.batches: Batches = (resident.part if resident else self.data.train).batches(
            training.batch_size,
            seed=training.seed,
            dtype="int32" if resident else self.machine.precision,
            augmentation=self.settings.augmentation,
        )
        measured = measured_names(self.graph.metrics, optimizer.averages)
        self.monitor, self.mode = monitored(
            training.monitor, training.mode, measured, len(self.data.validation) > 0
        )
        optimizer.hyperparameters.check_metrics(measured)
        whole = math.ceil(len(self.batches) / training.accumulation)
        steps = min(whole, training.steps_per_epoch or whole)
        self.progress = Progress(
            epochs=training.epochs,
            steps_per_epoch=steps,
            examples_per_epoch=min(len(self.data.train), training.batch_size * training.accumulation * steps),
            examples_per_step=training.batch_size * training.accumulation,
        )
        check_schedules(optimizer.hyperparameters, steps, training.epochs * steps)
