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
from trainer.models import Network
from trainer.objectives import Metric, Objective
from trainer.optimizer import Optimizer, build_optimizer
from trainer.settings import Settings
from trainer.training import Evaluation, Resident, TrainingStep, compile_evaluation, compile_training_step


@dataclass(frozen=True)
class Graph:
    """The symbolic expressions of a run, before anything is compiled.

    Attributes
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    loss : symbolic scalar
        The mean loss of a batch in training, without the layers' penalties.
    updates : mapping
        Each shared variable to its value after a step.
    metrics : mapping
        The loss and the metrics of evaluations, by name.
    carried : mapping
        Each carried state to its value after a batch of an evaluation.
    optimizer : Optimizer
        The updates' hyperparameters and state.
    """

    inputs: Any
    targets: Any
    loss: Any
    updates: Mapping[Any, Any]
    metrics: Mapping[str, Metric]
    carried: Mapping[Any, Any]
    optimizer: Optimizer


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
    optimizer = build_optimizer(
        loss if network.penalty is None else loss + network.penalty,
        network.parameters,
        rule=settings.rule,
        clipping=settings.clipping,
        wrapper=settings.wrapper,
        constraint=settings.constraint,
    )
    hyperparameters = optimizer.hyperparameters
    configured = hyperparameters.values()
    for name, schedule in settings.schedules.items():
        hyperparameters.schedule(name, schedule.component(configured.get(name, 0.0)), schedule.unit)
    metrics, carried = evaluated(network, objective, inputs, targets)
    return Graph(
        inputs=inputs,
        targets=targets,
        loss=loss,
        updates={**optimizer.updates, **network.updates(training=True)},
        metrics=metrics,
        carried=carried,
        optimizer=optimizer,
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


def compile_graph(graph: Graph, resident: Resident | None = None) -> Compiled:
    """Compile the training step and the evaluation, and verify that their matrix products call the BLAS.

    Where the training part is resident, the step is called with the places of its examples.
    """
    started = time.monotonic()
    if resident is None:
        step = compile_training_step(graph.inputs, graph.targets, graph.loss, graph.updates)
    else:
        step = resident.compile_step(graph.loss, graph.updates)
    evaluation = compile_evaluation(graph.inputs, graph.targets, graph.metrics, graph.carried)
    runtime.verify(step)
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
