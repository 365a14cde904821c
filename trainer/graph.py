"""The expressions of a run, and the functions that are compiled of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer import runtime
from trainer.hyperparameters import Hyperparameters
from trainer.kernels.copying import gate
from trainer.kernels.finite import check_finite
from trainer.models import Network
from trainer.objectives import Metric, Objective
from trainer.optimizer import Optimizer, build_optimizer, trained
from trainer.scheduling import bind_schedules
from trainer.settings import Settings
from trainer.training import (
    Accumulation,
    Evaluation,
    Resident,
    TrainingStep,
    accumulate,
    compile_evaluation,
    compile_training_step,
)

Predict = Callable[[NDArray[Any]], NDArray[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """The symbolic expressions of a run, before anything is compiled.

    Attributes
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    loss : symbolic scalar
        The mean loss of an update's examples, without the layers' penalties.
    norm : symbolic scalar
        The total norm of the gradients, which is known only where loss and gradients are finite.
    optimizer : Optimizer
        The updates of parameters and states, and the hyperparameters.
    network_updates : mapping
        What each batch changes besides: running statistics, random streams, carried states.
    metrics : mapping
        The loss and the metrics of evaluations, by name.
    carried : mapping
        Each carried state to its value after a batch of an evaluation.
    accumulation : Accumulation, optional
        The sums over the batches of an update, where there are several.
    """

    inputs: Any
    targets: Any
    loss: Any
    norm: Any
    optimizer: Optimizer
    network_updates: Mapping[Any, Any]
    metrics: Mapping[str, Metric]
    carried: Mapping[Any, Any]
    accumulation: Accumulation | None = None

    def with_hyperparameters(self, hyperparameters: Hyperparameters) -> Graph:
        """Return the same expressions, whose shared scalars these hyperparameters have taken over."""
        return replace(self, optimizer=replace(self.optimizer, hyperparameters=hyperparameters))


@dataclass(frozen=True)
class Compiled:
    """What a run executes, and how long it took to compile, in seconds."""

    step: TrainingStep
    evaluation: Evaluation
    seconds: float

    @property
    def shared(self) -> set[Any]:
        """The shared variables that it reads or writes."""
        functions = [*self.step.functions, self.evaluation.function]
        return {variable for function in functions for variable in function.get_shared()}


class Seam:
    """Called in a compiled step before it writes: does what the run says that has the step at the moment."""

    def __init__(self) -> None:
        self.release()

    def __call__(self) -> object:
        """Do what is bound."""
        return self._wait()

    def bind(self, wait: Callable[[], object]) -> None:
        """Have this called from now on."""
        self._wait = wait

    def release(self) -> None:
        """Have nothing called any more."""
        self._wait = lambda: None


def build_graph(settings: Settings, network: Network, objective: Objective) -> Graph:
    """Build the expressions of a run, from the network to the dictionary of updates.

    Raises
    ------
    UsageError
        Where a part does not fit, or a schedule is bound to a hyperparameter that there is not.
    """
    inputs, targets = network.input_variable(), objective.target_variable()
    wanted = inputs if objective.reconstructs else targets
    loss = objective.training_losses(network.output(inputs, training=True), wanted).mean()
    network_updates = network.updates(training=True)
    parameters = trained(network.parameters, settings.groups)
    found: dict[str, Any] = {"loss": loss}

    def accumulated_and_checked(gradients: list[Any]) -> list[Any]:
        if settings.training.accumulation > 1:
            sums = accumulate(loss, gradients, parameters, inputs.shape[0])
            found.update(loss=sums.loss, accumulation=sums)
            gradients = sums.gradients
        names = [parameter.name for parameter in parameters]
        gradients, found["norm"] = check_finite(found["loss"], gradients, names)
        return gradients

    buffers = {buffer: network_updates.get(buffer, buffer) for buffer in network.buffers}
    penalized = loss if network.penalty is None else loss + network.penalty
    optimizer = _optimizer(settings, network, penalized, buffers, accumulated_and_checked)
    metrics, carried = evaluated(network, objective, inputs, targets)
    return Graph(
        inputs=inputs,
        targets=targets,
        optimizer=optimizer,
        network_updates=network_updates,
        metrics=metrics,
        carried=carried,
        **found,
    )


def build_beginning(settings: Settings, network: Network) -> Optimizer:
    """Build an optimizer for what it begins with alone: the states' first values, and the hyperparameters.

    It minimizes the sum of all parameters, which costs a fraction of building the network's own loss, and has
    the same states and hyperparameters, since neither depends on what the loss is. Of a network with random
    streams, the training output is built as well, which makes them.

    Raises
    ------
    UsageError
        As `build_graph` does.
    """
    if network.has_masks:
        network.output(network.input_variable(), training=True)
    stand_in = sum(parameter.sum() for parameter in network.parameters)
    buffers = {buffer: buffer for buffer in network.buffers}
    # Nobody will ask where in the program an expression was made that is never compiled.
    with theano.change_flags(**{"traceback.limit": 0}):
        return _optimizer(settings, network, stand_in, buffers, fused=False)


def _optimizer(
    settings: Settings,
    network: Network,
    loss: Any,
    buffers: Mapping[Any, Any],
    between: Callable[[list[Any]], list[Any]] | None = None,
    fused: bool | None = None,
) -> Optimizer:
    optimizer = build_optimizer(
        loss,
        network.parameters,
        rule=settings.rule,
        gradient=settings.gradient,
        clipping=settings.clipping,
        wrapper=settings.wrapper,
        constraint=settings.constraint,
        averaging=settings.averaging,
        groups=settings.groups,
        weight_decay=settings.weight_decay,
        weight_decay_match=settings.weight_decay_match,
        buffers=buffers,
        between=between,
        fused=fused,
    )
    of_groups = {
        f"groups.{group.name}.{name}": schedule
        for group in settings.groups
        for name, schedule in group.schedules.items()
    }
    bind_schedules(optimizer.hyperparameters, {**settings.schedules, **of_groups})
    return optimizer


def evaluated(
    network: Network, objective: Objective, inputs: Any, targets: Any
) -> tuple[dict[str, Metric], dict[Any, Any]]:
    """Return loss and metrics of a batch in evaluation by name, and what carried states become."""
    wanted = inputs if objective.reconstructs else targets
    output = network.output(inputs, training=False)
    loss = Metric.of_examples(objective.losses(output, wanted))
    return {"loss": loss, **objective.metrics(output, wanted)}, network.updates(training=False)


def compile_network_evaluation(network: Network, objective: Objective) -> Evaluation:
    """Compile the evaluation alone, for a network that is not to be trained."""
    inputs, targets = network.input_variable(), objective.target_variable()
    return compile_evaluation(inputs, targets, *evaluated(network, objective, inputs, targets))


def compile_graph(
    graph: Graph, resident: Resident | None = None, before_writing: Callable[[], object] | None = None
) -> Compiled:
    """Compile the training step and the evaluation, and verify that their matrix products call the BLAS.

    Parameters
    ----------
    graph : Graph
        The expressions.
    resident : Resident, optional
        Where the training part is resident: the step is called with the places of its examples.
    before_writing : callable, optional
        Called in each step after the gradients are known and before anything is written.
    """
    started = time.monotonic()
    norm = graph.norm if before_writing is None else gate(graph.norm, before_writing)
    updates = {**graph.optimizer.updates, **graph.network_updates}
    options: dict[str, Any] = {"accumulation": graph.accumulation, "buffers": graph.network_updates}
    if resident is None:
        step = compile_training_step(graph.inputs, graph.targets, graph.loss, norm, updates, **options)
    else:
        step = resident.compile_step(graph.loss, norm, updates, **options)
    evaluation = compile_evaluation(graph.inputs, graph.targets, graph.metrics, graph.carried)
    for function in step.functions:
        runtime.verify(function)
        if line := runtime.place(function):
            log.info(line, extra={"shown": True})
    return Compiled(step, evaluation, time.monotonic() - started)


def compile_prediction(network: Network, batch_size: int = 1000) -> Predict:
    """Compile the forward graph alone, when it is first called.

    Returns
    -------
    callable
        From an array of inputs to the network's outputs in evaluation, `batch_size` examples at a time.
        Where the network carries states, each call begins with zeros, and takes all its inputs as one batch.
    """
    compiled: list[Any] = []

    def predict(inputs: NDArray[Any]) -> NDArray[Any]:
        if not compiled:
            batch = network.input_variable()
            output = network.output(batch, training=False)
            updates = list(network.updates(training=False).items())
            compiled.append((theano.function([batch], output, updates=updates), batch.dtype))
        function, dtype = compiled[0]
        size = max(len(inputs), 1) if network.carries_states else batch_size
        network.reset_states(size, training=False)
        batches = range(0, max(len(inputs), 1), size)
        return np.concatenate([function(np.asarray(inputs[at : at + size], dtype)) for at in batches])

    return predict
