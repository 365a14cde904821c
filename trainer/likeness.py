"""Whether functions that are not this program's own, called again, compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from theano import tensor
from theano.scan_module.scan_utils import equal_computations

from trainer.graph import build_beginning
from trainer.models import Network
from trainer.objectives import Objective
from trainer.settings import Settings
from trainer.state import state_variables


class Likeness:
    """What a network and an optimizer compute, to be compared with what they do at another time.

    A function of a user's may build constants into its expressions: of the seed, of a parameter's first
    values, of a file. No configuration tells.

    Parameters
    ----------
    settings : Settings
        What the network was built of.
    network : Network
        Built for this alone, since its outputs are built here.
    objective : Objective
        What judges its output.
    """

    def __init__(self, settings: Settings, network: Network, objective: Objective) -> None:
        optimizer = build_beginning(settings, network)
        inputs, targets = network.input_variable(), objective.target_variable()
        wanted = inputs if objective.reconstructs else targets
        trained, answered = (network.output(inputs, training) for training in (True, False))
        self._variables = {"inputs": inputs, "targets": targets, **state_variables(network, optimizer)}
        self._variables.update(
            {f"hyperparameter.{name}": optimizer.hyperparameters[name] for name in optimizer.hyperparameters}
        )
        self._variables.update({str(time.name): time for time in optimizer.hyperparameters.clock.shared})
        self._variables.update({str(state.name): state for state in network.evaluation_states})
        names = {variable: name for name, variable in self._variables.items()}
        self._expressions = {
            "trained": objective.training_losses(trained, wanted),
            "answered": objective.losses(answered, wanted),
            **{name: metric.total for name, metric in objective.metrics(answered, wanted).items()},
        }
        if network.penalty is not None:
            self._expressions["penalty"] = network.penalty
        for updates in (network.updates(True), network.updates(False), optimizer.updates):
            for variable, value in updates.items():
                self._expressions[f"new {names[variable]}"] = tensor.as_tensor_variable(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Likeness):
            return NotImplemented
        variables, others = self._variables, other._variables
        expressions, more = self._expressions, other._expressions
        if variables.keys() != others.keys() or expressions.keys() != more.keys():
            return False
        return bool(
            equal_computations(
                list(expressions.values()),
                [more[name] for name in expressions],
                list(variables.values()),
                [others[name] for name in variables],
            )
        )

    __hash__ = None  # type: ignore[assignment]


def has_foreign_parts(settings: Settings, network: Network) -> bool:
    """Tell whether anything that builds the graph is not this program's own."""
    return not all(
        str(getattr(part, "__module__", "")).startswith("trainer.") for part in _builders(settings, network)
    )


def _builders(settings: Settings, network: Network) -> Iterator[Any]:
    chains = (settings.gradient, settings.clipping, settings.wrapper, settings.constraint)
    components = [
        settings.model,
        settings.objective,
        settings.rule,
        *(each for chain in chains for each in chain),
    ]
    components += [settings.averaging] if settings.averaging else []
    components += [group.rule for group in settings.groups if group.rule is not None]
    yield from (component.function for component in components)
    yield from (type(layer) for layer in network.all_layers)
