"""The expressions of a run, and the functions that are compiled of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer import runtime
from trainer.data import Data
from trainer.models import Network
from trainer.optimizer import Optimizer, build_optimizer
from trainer.settings import Settings
from trainer.training import Evaluation, TrainingStep, compile_evaluation, compile_training_step


@dataclass(frozen=True)
class Graph:
    """The symbolic expressions of a run, before anything is compiled.

    Attributes
    ----------
    inputs, targets : symbolic variables
        Of a batch.
    loss : symbolic scalar
        The mean loss of a batch in training.
    updates : mapping
        Each shared variable to its value after a step.
    losses : symbolic vector
        Each example's loss in evaluation.
    metrics : mapping
        Each metric's name to a symbolic vector of its value for each example, in evaluation.
    optimizer : Optimizer
        The updates' hyperparameters and state.
    """

    inputs: Any
    targets: Any
    loss: Any
    updates: Mapping[Any, Any]
    losses: Any
    metrics: Mapping[str, Any]
    optimizer: Optimizer


@dataclass(frozen=True)
class Compiled:
    """What a run executes, and how long it took to compile, in seconds."""

    step: TrainingStep
    evaluation: Evaluation
    seconds: float


def build_graph(settings: Settings, network: Network, data: Data) -> Graph:
    """Build the expressions of a run, from the network to the dictionary of updates.

    Raises
    ------
    UsageError
        Where a part does not fit, or a schedule is bound to a hyperparameter that there is not.
    """
    objective = settings.objective()
    objective.check(data)
    inputs, targets = network.input_variable(), objective.target_variable()
    loss = objective.losses(network.output(inputs, training=True), targets).mean()
    optimizer = build_optimizer(
        loss,
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
    output = network.output(inputs, training=False)
    return Graph(
        inputs=inputs,
        targets=targets,
        loss=loss,
        updates={**optimizer.updates, **network.extra_updates},
        losses=objective.losses(output, targets),
        metrics=objective.metrics(output, targets),
        optimizer=optimizer,
    )


def compile_graph(graph: Graph) -> Compiled:
    """Compile the training step and the evaluation, and verify that their matrix products call the BLAS."""
    started = time.monotonic()
    step = compile_training_step(graph.inputs, graph.targets, graph.loss, graph.updates)
    evaluation = compile_evaluation(graph.inputs, graph.targets, graph.losses, graph.metrics)
    runtime.verify(step)
    return Compiled(step, evaluation, time.monotonic() - started)
