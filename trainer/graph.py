"""The expressions of a run, and the functions that are compiled of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray

from trainer import runtime
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


@dataclass(frozen=True)
class Compiled:
    """What a run executes, and how long it took to compile, in seconds."""

    step: TrainingStep
    evaluation: Evaluation
    seconds: float


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

    optimizer = build_optimizer(
        loss if network.penalty is None else loss + network.penalty,
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
        buffers={buffer: network_updates.get(buffer, buffer) for buffer in network.buffers},
        between=accumulated_and_checked,
    )
    of_groups = {
        f"groups.{group.name}.{name}": schedule
        for group in settings.groups
        for name, schedule in group.schedules.items()
    }
    bind_schedules(optimizer.hyperparameters, {**settings.schedules, **of_groups})
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
    return Compiled(step, evaluation, time.monotonic() - started)


def compile_prediction(network: Network, batch_size: int = 1000) -> Callable[[NDArray[Any]], NDArray[Any]]:
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
