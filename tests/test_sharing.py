"""Which runs share compiled functions: those whose graphs are the same, as Theano compares them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf
from theano import tensor
from theano.scan_module.scan_utils import equal_computations

from trainer import config
from trainer.assembly import Scales, build_network
from trainer.commands.overrides import rewritten
from trainer.data import Data
from trainer.data.facts import Facts
from trainer.graph import Graph, build_graph
from trainer.models import Network
from trainer.settings import Settings
from trainer.sharing import GraphKey, differences, graph_key
from trainer.state import state_variables
from trainer.sweep.composing import Composer

# What a value of conf/ is changed to, and the name under which the graph is another then; None where it is
# the same. Of what is not here, `NUMBERS` below has all numbers of rules and the like.
TABLE: Mapping[str, str | None] = {
    "model=softmax": "model",
    "model.hidden=[5]": "model.hidden",
    "model.activation=tanh": "model.activation",
    "model.input_dropout=0.1": "model.input_dropout",
    "model.dropout=0.1": "model.dropout",
    "model.initialization=glorot_uniform": None,
    "model.weights_match=dense_*": None,
    "objective.label_smoothing=0.1": "objective.label_smoothing",
    "objective.class_weights=balanced": "objective.class_weights",
    "objective.top_k=3": "objective.top_k",
    "data.validation_fraction=0.2": None,
    "data.test_fraction=0.2": None,
    "data.seed=2": None,
    "data.normalization=standard": "data.normalization",
    "+data.augmentation.noise={_target_: trainer.data.augmentation.noise, deviation: 0.1}": None,
    "training.epochs=3": None,
    "training.batch_size=10": None,
    "training.accumulation=2": "training.accumulation",
    "training.evaluation_batch_size=10": None,
    "training.steps_per_epoch=2": None,
    "training.seed=1": None,
    "training.feeding=arrays": None,
    "training.feeding=resident": "training.feeding",
    "training.monitor=validation/accuracy": None,
    "training.mode=max": None,
    "training.non_finite=skip": None,
    "training.non_finite_limit=1": None,
    "training.rollback_scale=0.1": None,
    "training.checkpoints.every_epochs=null": None,
    "training.checkpoints.every_steps=3": None,
    "training.checkpoints.every_minutes=3": None,
    "training.checkpoints.keep=1": None,
    "optimizer=momentum": "optimizer._target_",
    "optimizer.weight_decay=0": "optimizer.weight_decay",
    "optimizer.weight_decay_match=*.W": None,  # nothing decays
    "optimizer.groups=[{match: '*.b', learning_rate_scale: 0.1}]": "optimizer.groups",
    "optimizer.groups=[{match: '*.b', freeze: true}]": "optimizer.groups",
    "schedule=cosine": None,
    "schedule=plateau": None,
    "schedule@schedule.beta1=linear": None,
    "wrapper=momentum": "wrapper",
    "wrapper=[momentum,lookahead]": "wrapper",
    "clipping=value": "clipping",
    "constraint=max_norm": "constraint",
    "gradient=centralization": "gradient",
    "gradient=sharpness_aware": "gradient",
    "averaging=polyak": "averaging",
    "callbacks=early_stopping": None,
    "logger.curves=null": None,
    "task=find_learning_rate": None,
    "find_learning_rate.steps=3": None,
    "device.threads=1": None,
}

# Configurations to whose own numbers nothing is compiled anew.
NUMBERS = (
    ("optimizer=adamw",),
    ("optimizer=momentum", "optimizer.weight_decay=0.1", "wrapper=lookahead", "clipping=total_norm"),
    ("optimizer=muon", "wrapper=nesterov_momentum", "clipping=adaptive", "constraint=max_norm"),
    ("optimizer=rmsprop", "gradient=noise", "averaging=stochastic", "clipping=value"),
    ("optimizer=prodigy", "gradient=sharpness_aware", "clipping=norm", "averaging=exponential"),
    ("optimizer=adafactor", "averaging=polyak"),
)
GROUPS = ("optimizer", "wrapper", "clipping", "constraint", "gradient", "averaging")
# Those numbers that their functions annotate as int.
SHAPING = ("optimizer.iterations",)


@dataclass(frozen=True)
class Made:
    """What a configuration gives: its key, and a graph built as for a run of its own."""

    key: GraphKey
    graph: Graph
    network: Network

    @property
    def variables(self) -> dict[str, Any]:
        """What a run sets, saves or is given, by name; all else in the graph belongs to the computation."""
        graph, hyperparameters = self.graph, self.graph.optimizer.hyperparameters
        found = {"inputs": graph.inputs, "targets": graph.targets}
        found.update(state_variables(self.network, graph.optimizer))
        found.update({f"hyperparameter.{name}": hyperparameters[name] for name in hyperparameters})
        found.update({str(time.name): time for time in hyperparameters.clock.shared})
        found.update({f"evaluation.{state.name}": state for state in graph.carried})
        if graph.accumulation is not None:
            sums = [graph.accumulation.begun, *graph.accumulation.updates]
            found.update({f"sums.{number}": each for number, each in enumerate(sums)})
        return found

    @property
    def expressions(self) -> dict[str, Any]:
        """What the compiled functions return and write, by name."""
        graph = self.graph
        names = {variable: name for name, variable in self.variables.items()}
        found = {"loss": graph.loss, "norm": graph.norm}
        found.update({f"metric.{name}": metric.total for name, metric in graph.metrics.items()})
        gathered = graph.accumulation.updates if graph.accumulation is not None else {}
        for updates in (graph.optimizer.updates, graph.network_updates, graph.carried, gathered):
            found.update({f"new.{names[each]}": tensor.as_tensor_variable(updates[each]) for each in updates})
        return found


def are_same(one: Made, other: Made) -> bool:
    """Compare two graphs, and the shapes of what they keep, by Theano's own comparison node by node."""
    variables, others = one.variables, other.variables
    expressions, more = one.expressions, other.expressions
    if variables.keys() != others.keys() or expressions.keys() != more.keys():
        return False
    if any(variables[name].type != others[name].type for name in variables):
        return False
    kept = [state_variables(each.network, each.graph.optimizer) for each in (one, other)]
    if any(value.get_value().shape != kept[1][name].get_value().shape for name, value in kept[0].items()):
        return False
    names, expressed = list(variables), list(expressions)
    return bool(
        equal_computations(
            [expressions[name] for name in expressed],
            [more[name] for name in expressed],
            [variables[name] for name in names],
            [others[name] for name in names],
        )
    )


class Compositions:
    """Configurations of overrides, each in a few milliseconds."""

    def __init__(self, loader: Any) -> None:
        self._composer = Composer(loader)
        self._master = loader.load_configuration("config", [], RunMode.MULTIRUN)

    def composed(self, *overrides: str) -> Any:
        composed = self._composer.load_sweep_config(self._master, rewritten(list(overrides)))
        return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])

    def settings(self, *overrides: str) -> Settings:
        return config.interpret(self.composed(*overrides), overrides)

    def made(self, *overrides: str) -> Made:
        return made(self.settings(*overrides))

    def numbers(self, *overrides: str) -> dict[str, float]:
        """Return the numbers of the groups that belong to the optimizer, by their keys."""
        composed = OmegaConf.to_container(self.composed(*overrides), resolve=True)
        assert isinstance(composed, dict)
        return {
            f"{group}.{name}": value
            for group in GROUPS
            for name, value in (composed[group] or {}).items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }


def made(settings: Settings, data: Data | None = None) -> Made:
    data = data or settings.data()
    objective = settings.objective()
    objective.check(data)
    facts = Facts.of(data, objective.outputs(data))
    scales = Scales.fitted(settings, data)
    network = build_network(settings, facts, scales)
    resident = settings.training.feeding == "resident"
    key = graph_key(settings, facts, scales, objective, resident=resident)
    return Made(key, build_graph(settings, network, objective), network)


def other_than(value: float) -> float:
    return value + 1 if isinstance(value, int) else value / 2 or 0.5


@pytest.fixture(scope="module")
def compositions() -> Iterator[Compositions]:
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        yield Compositions(GlobalHydra.instance().config_loader())


@pytest.fixture(scope="module")
def usual(compositions: Compositions) -> Made:
    return compositions.made()


@pytest.mark.parametrize("override", TABLE)
def test_an_override_gives_another_key_exactly_where_it_gives_another_graph(
    override: str, compositions: Compositions, usual: Made
) -> None:
    changed = compositions.made(override)
    wanted = TABLE[override]
    if override != "training.feeding=resident":  # which is told by the compiled step alone
        assert are_same(usual, changed) is (wanted is None)
    found = differences(changed.key, usual.key)
    assert found[:1] == ([] if wanted is None else [wanted])


@pytest.mark.parametrize("chosen", NUMBERS, ids=" ".join)
def test_numbers_of_rules_and_the_like_are_never_compiled_in_but_for_whole_ones(
    chosen: tuple[str, ...], compositions: Compositions
) -> None:
    usual = compositions.made(*chosen)
    numbers = compositions.numbers(*chosen)
    assert numbers
    shared = [f"{key}={other_than(value)}" for key, value in numbers.items() if key not in SHAPING]
    changed = compositions.made(*chosen, *shared, "training.seed=3")
    assert changed.key == usual.key
    assert are_same(usual, changed)
    for key in SHAPING:
        if key in numbers:
            changed = compositions.made(*chosen, f"{key}={numbers[key] + 1}")
            assert not are_same(usual, changed)
            assert differences(changed.key, usual.key) == [key]


def test_every_key_of_the_usual_configuration_is_decided(compositions: Compositions) -> None:
    composed = OmegaConf.to_container(compositions.composed(), resolve=True)
    assert isinstance(composed, dict)
    decided = {override.partition("=")[0] for override in TABLE} | set(compositions.numbers())
    # The function of a node is chosen by its group.
    undecided = {
        key
        for group in (
            "data",
            "model",
            "objective",
            "optimizer",
            "training",
            "gradient",
            "clipping",
            "wrapper",
        )
        for key in leaves(composed[group], group)
        if not key.endswith("_target_") and key not in decided
    }
    assert undecided <= {
        "model.weights",
        "data.target_normalization",
        "data.augmentation",
    }  # tested elsewhere


def leaves(node: Any, key: str) -> Iterator[str]:
    if isinstance(node, dict) and node:
        for name, below in node.items():
            yield from leaves(below, f"{key}.{name}")
    else:
        yield key
