"""Fused updates: the same values as the symbolic form, in kernels that read and write each element once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from numpy.typing import NDArray
from omegaconf import OmegaConf
from theano import tensor

from trainer import updates
from trainer.components import Component, locate
from trainer.kernels.finite import NonFinite, check_finite
from trainer.kernels.fused import FusedUpdate, available
from trainer.optimizer import Optimizer, build_optimizer
from trainer.runtime import threads
from trainer.settings import GroupSettings
from trainer.training import compile_training_step
from trainer.updates import update_rule

CONF = Path(__file__).parent.parent / "conf"
PYTHON = theano.Mode(linker="py", optimizer=None)
STEPS = 5
# Of the largest element of a tensor, after that many steps: what rounding in another order amounts to.
ULPS = 16
SHAPES = {"matrix": (5, 7), "bias": (7,), "filters": (4, 3, 2, 2), "scalar": ()}


def names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def configured(group: str, name: str) -> list[Component]:
    run = OmegaConf.create({"training": {"seed": 0}})
    file = OmegaConf.merge(run, OmegaConf.load(CONF / group / f"{name}.yaml"))
    node: Any = OmegaConf.to_container(file, resolve=True)
    target = node.pop("_target_")
    arguments = {str(key): value for key, value in node.items() if key != "training"}
    return [] if target is None else [Component(locate(target, group), arguments, group)]


@dataclass
class Problem:
    """Parameters, their gradients, and what an optimizer makes of them."""

    gradients: list[Any]
    optimizer: Optimizer

    @property
    def values(self) -> dict[str, NDArray[Any]]:
        return {str(variable.name): variable.get_value() for variable in self.optimizer.updates}


def problem(
    fused: bool, dtype: str = "float32", shapes: Mapping[str, tuple[int, ...]] = SHAPES, **parts: Any
) -> Problem:
    random = np.random.default_rng(3)

    def shared(name: str) -> Any:
        return theano.shared(np.asarray(random.normal(size=shapes[name]), dtype), name=name)

    params, gradients = [shared(name) for name in shapes], [shared(name) for name in shapes]
    parts.setdefault("rule", Component(updates.adam, {"learning_rate": 0.01}))
    averaging = next(iter(parts.pop("averaging", [])), None)
    return Problem(gradients, build_optimizer(gradients, params, fused=fused, averaging=averaging, **parts))


def step_through(function: Callable[[], Any], problems: Sequence[Problem], steps: int = STEPS) -> None:
    """Make steps, each with gradients of its own that are the same for all problems."""
    random = np.random.default_rng(5)
    for _ in range(steps):
        for of_all in zip(*(problem.gradients for problem in problems), strict=True):
            old = of_all[0].get_value(borrow=True)
            value = np.asarray(random.normal(size=old.shape), old.dtype)
            for gradient in of_all:
                gradient.set_value(value)
        function()


def assert_same(fused: Problem, symbolic: Problem, ulps: int = ULPS) -> None:
    assert list(fused.values) == list(symbolic.values)
    for name, expected in symbolic.values.items():
        found = fused.values[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.isfinite(found).all(), name
        # The type of a sum over steps may be wider than what is summed.
        precision = max(np.finfo(expected.dtype).eps, np.finfo(symbolic.gradients[0].dtype).eps)
        largest = np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(found, expected, rtol=0, atol=ulps * precision * largest, err_msg=name)


def chain(**parts: Any) -> dict[str, Any]:
    return {group: configured(group, name) for group, name in parts.items()}


ARRANGED: dict[str, dict[str, Any]] = {
    **{rule: {"rule": configured("optimizer", rule)[0]} for rule in names("optimizer")},
    **{
        f"{group}={name}": chain(**{group: name})
        for group in ("wrapper", "clipping", "constraint", "averaging", "gradient")
        for name in names(group)
        # The noise of two problems differs; a source of gradients takes a loss.
        if name not in ("none", "noise", "sharpness_aware")
    },
    "everything": {
        **chain(wrapper="nesterov_momentum", constraint="max_norm", averaging="exponential"),
        "clipping": [Component(updates.total_norm_constraint, {"max_norm": 0.5})],
        "weight_decay": 0.01,
    },
    "groups": {
        "weight_decay": 0.1,
        "weight_decay_match": "matrix",
        "groups": [
            GroupSettings("slow", ("bias",), values={"learning_rate_scale": 0.1}),
            GroupSettings(
                "other", ("filters",), rule=Component(updates.momentum, {"learning_rate": 0.1}, "other")
            ),
        ],
    },
}


# What these make of an expression is what others make of it too: there it is compiled, which takes its time.
NOT_COMPILED = {
    *("wrapper=momentum", "wrapper=nesterov_momentum", "clipping=value", "clipping=total_norm"),
    *("clipping=adaptive", "constraint=unit_norm", "constraint=non_negative", "averaging=exponential"),
    *("averaging=polyak", "gradient=centralization"),
}


@pytest.fixture(scope="module")
def stepped() -> dict[str, tuple[Problem, Problem]]:
    """Step through all arrangements, fused and symbolic."""
    pairs = {name: (problem(True, **dict(p)), problem(False, **dict(p))) for name, p in ARRANGED.items()}
    in_c = [pair[0] for name, pair in pairs.items() if name not in NOT_COMPILED]
    in_python = [pair[0] for name, pair in pairs.items() if name in NOT_COMPILED]
    symbolic = [pair[1] for pair in pairs.values()]
    for chosen, mode in ((in_c, None), (in_python, PYTHON), (symbolic, PYTHON)):
        # Several in one function, whose modules are compiled beside each other.
        for start in range(0, len(chosen), 6):
            batch = chosen[start : start + 6]
            changes = itertools.chain.from_iterable(each.optimizer.updates.items() for each in batch)
            step_through(theano.function([], updates=list(changes), mode=mode), batch)
    return pairs


@pytest.mark.parametrize("name", ARRANGED)
def test_the_values_are_those_of_the_symbolic_form(
    name: str, stepped: dict[str, tuple[Problem, Problem]]
) -> None:
    assert_same(*stepped[name])


ELEMENTWISE = sorted(
    {*names("optimizer")}
    - {"lars", "lamb", "adafactor", "sm3", "muon", "prodigy"}  # they take norms, maxima and products
)


@pytest.mark.parametrize("rule", ELEMENTWISE)
def test_an_elementwise_rule_is_one_operation(rule: str) -> None:
    shapes = {"W": (5, 7), "b": (7,)}
    inputs = [tensor.fmatrix(), tensor.fvector()]
    params = [theano.shared(np.ones(shape, "float32"), name=name) for name, shape in shapes.items()]
    optimizer = build_optimizer(
        [2 * each for each in inputs], params, rule=configured("optimizer", rule)[0], fused=True
    )
    made = {each.owner for each in optimizer.updates.values()}
    fused = [node for node in made if isinstance(node.op, FusedUpdate)]
    assert len(fused) == 1
    # Adan keeps the gradient itself, which is a state already.
    kept = {each.owner for each in optimizer.updates.values() if each in fused[0].inputs}
    assert made - kept == set(fused)


def test_without_a_compiler_the_operation_gives_what_the_symbolic_form_gives() -> None:
    for parts in ({}, ARRANGED["lamb"], ARRANGED["everything"]):
        fused, symbolic = problem(True, **dict(parts)), problem(False, **dict(parts))
        for each in (fused, symbolic):
            step_through(theano.function([], updates=each.optimizer.updates, mode=PYTHON), [each])
        assert_same(fused, symbolic, ulps=1)


@pytest.mark.usefixtures("uncompiled")
def test_where_nothing_is_compiled_the_symbolic_form_is_used() -> None:
    assert not available()
    optimizer = build_optimizer(
        [tensor.fvector()],
        [theano.shared(np.ones(3, "float32"), name="b")],
        rule=Component(updates.adam),
    )
    assert not any(isinstance(each.owner.op, FusedUpdate) for each in optimizer.updates.values())


def test_without_a_compiler_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available()

    class Config:
        cxx, device = "", "cpu"

    monkeypatch.setattr("trainer.kernels.fused.theano.config", Config)
    assert not available()


@update_rule
def own_rule(
    parameter: Any, gradient: Any, slow: Any, *, step: Any, learning_rate: Any = 0.1, sharpness: Any = 3.0
) -> Any:
    """A rule of no paper, of operations that no rule of ours has."""
    slow = tensor.log1p(tensor.exp(-abs(slow))) + tensor.tanh(gradient) / tensor.sqrt(step)
    bent = tensor.switch(tensor.or_(slow > 0.5, gradient < -1), tensor.cos(slow), tensor.erf(gradient))
    return parameter - learning_rate * bent / (1 + tensor.nnet.sigmoid(sharpness * parameter)), slow


def test_a_rule_of_ones_own_is_fused_without_a_line_of_c() -> None:
    own = Component(own_rule, {"learning_rate": 0.2})
    made = problem(True, rule=own), problem(False, rule=own)
    assert {type(each.owner.op) for each in made[0].optimizer.updates.values() if each.ndim} == {FusedUpdate}
    for each, mode in zip(made, (None, PYTHON), strict=True):
        step_through(theano.function([], updates=each.optimizer.updates, mode=mode), [each])
    assert_same(*made)


def test_in_double_precision() -> None:
    everything = ARRANGED["everything"]
    made = problem(True, "float64", **dict(everything)), problem(False, "float64", **dict(everything))
    for each, mode in zip(made, (None, PYTHON), strict=True):
        step_through(theano.function([], updates=each.optimizer.updates, mode=mode), [each])
    assert_same(*made)


def test_many_small_parameters_are_one_operation_and_networks_of_all_sizes_share_its_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = []
    original = theano.gof.cc.CLinker.compile_cmodule

    def counted(*arguments: Any, **named: Any) -> Any:
        compiled.append(1)
        return original(*arguments, **named)

    def shapes(count: int) -> dict[str, tuple[int, ...]]:
        return {f"b{number}": (number % 13 * 10,) for number in range(count)}

    def of(count: int) -> Problem:
        return problem(True, shapes=shapes(count))

    few, many = of(3), of(100)
    step_through(theano.function([], updates=few.optimizer.updates), [few])
    monkeypatch.setattr(theano.gof.cc.CLinker, "compile_cmodule", counted)
    function = theano.function([], updates=many.optimizer.updates)
    step_through(function, [many])
    assert [type(node.op) for node in function.maker.fgraph.toposort()] == [FusedUpdate]
    assert not compiled
    for name in few.optimizer.parameters:
        assert np.isfinite(few.values[str(name)]).all()
    symbolic = problem(False, shapes=shapes(100))
    step_through(theano.function([], updates=symbolic.optimizer.updates, mode=PYTHON), [symbolic])
    assert_same(many, symbolic)


@pytest.fixture
def thread_count() -> Iterator[Callable[[int], None]]:
    before = threads.shared[0]

    def use(number: int) -> None:
        threads.shared[0] = number

    yield use
    threads.shared[0] = before


@pytest.mark.parametrize("arrangement", ["adam", "lamb", "constraint=max_norm"])
def test_one_thread_and_several_give_the_same_bits(
    arrangement: str, thread_count: Callable[[int], None]
) -> None:
    found = []
    for number in (1, 2, 3):
        thread_count(number)
        made = problem(True, shapes={"W": (900, 1011), "b": (1011,)}, **dict(ARRANGED[arrangement]))
        step_through(theano.function([], updates=made.optimizer.updates), [made], steps=2)
        found.append(made.values)
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value, err_msg=name)


@pytest.mark.parametrize("order", ["parameter", "gradient", "state", "all", "spread"])
def test_arrays_that_lie_otherwise_in_memory(order: str) -> None:
    fused, symbolic = (problem(each, shapes={"W": (6, 9), "V": (9, 6)}) for each in (True, False))
    [weights, _] = fused.optimizer.parameters
    state = next(each for each in fused.optimizer.state if each.name == "W.mean")
    turned = {
        "parameter": [weights],
        "gradient": [fused.gradients[0]],
        "state": [state],
        "all": [each for each in (*fused.optimizer.updates, fused.gradients[0]) if str(each).startswith("W")],
        "spread": [],
    }[order]
    functions = [
        theano.function([], updates=each.optimizer.updates, mode=mode)
        for each, mode in ((fused, None), (symbolic, PYTHON))
    ]
    random = np.random.default_rng(1)
    for _ in range(3):
        values = [random.normal(size=gradient.get_value().shape) for gradient in fused.gradients]
        for each in (fused, symbolic):
            for gradient, value in zip(each.gradients, values, strict=True):
                gradient.set_value(value.astype("float32"))
        for variable in turned:
            variable.set_value(np.asfortranarray(variable.get_value()), borrow=True)
        if order == "spread":
            wide = np.zeros((6, 18), "float32")
            wide[:, ::2] = weights.get_value()
            weights.set_value(wide[:, ::2], borrow=True)
        for function in functions:
            function()
        assert_same(fused, symbolic)


@pytest.mark.parametrize("size", [3, 15, 17, 16384, 32775])
def test_the_bits_do_not_depend_on_where_in_memory_an_array_begins(size: int) -> None:
    made = problem(True, shapes={"b": (size,)})
    function = theano.function([], updates=made.optimizer.updates)
    first = made.values
    step_through(function, [made], steps=2)
    wanted = made.values
    room = np.zeros(size + 32, "float32")
    aligned = -room.ctypes.data % 64 // 4
    for places in range(0, 16, 5):
        for name, variable in zip(first, made.optimizer.updates, strict=True):
            value = first[name]
            if value.ndim:
                shifted = np.zeros_like(room)[aligned + places :][:size]
                shifted[:] = value
                value = shifted
            variable.set_value(value, borrow=True)
        step_through(function, [made], steps=2)
        for name, value in made.values.items():
            np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def test_new_values_take_the_place_of_the_old_ones() -> None:
    made = problem(True)
    function = theano.function([], updates=made.optimizer.updates)

    def places() -> list[int]:
        return [each.get_value(borrow=True).ctypes.data for each in made.optimizer.updates if each.ndim]

    before = places()
    step_through(function, [made], steps=2)
    assert places() == before


def test_an_old_value_that_is_still_needed_is_kept() -> None:
    made = problem(True)
    [weights, *_] = made.optimizer.parameters
    before = weights.get_value()
    function = theano.function([], [weights, weights - 1], updates=made.optimizer.updates)
    old, less = function()
    np.testing.assert_array_equal(old, before)
    np.testing.assert_array_equal(less, before - 1)
    assert not np.array_equal(weights.get_value(), before)


def test_shapes_that_do_not_fit_are_refused() -> None:
    weights, gradient = theano.shared(np.ones((2, 3), "float32"), name="W"), tensor.fmatrix()
    optimizer = build_optimizer([gradient], [weights], rule=Component(updates.adam), fused=True)
    function = theano.function([gradient], updates=optimizer.updates)
    with pytest.raises(ValueError, match=r"shape \(3, 2\) beside a tensor of shape \(2, 3\)"):
        function(np.ones((3, 2), "float32"))
    np.testing.assert_array_equal(weights.get_value(), np.ones((2, 3)))


def network_step(fused: bool, clipping: Sequence[Component] = ()) -> tuple[Any, Optimizer]:
    random = np.random.default_rng(0)
    inputs, targets = tensor.fmatrix(), tensor.fmatrix()
    weights = theano.shared(random.normal(size=(3, 4)).astype("float32"), name="W")
    bias = theano.shared(np.zeros(4, "float32"), name="b")
    loss = tensor.sqr(tensor.tanh(tensor.dot(inputs, weights) + bias) - targets).mean()
    norms = []

    def checked(gradients: list[Any]) -> list[Any]:
        passed, norm = check_finite(loss, gradients, ["W", "b"])
        norms.append(norm)
        return passed

    optimizer = build_optimizer(
        loss,
        [weights, bias],
        rule=Component(updates.adam, {"learning_rate": 0.1}),
        clipping=clipping,
        between=checked,
        fused=fused,
    )
    return compile_training_step(inputs, targets, loss, norms[0], optimizer.updates), optimizer


def test_a_step_that_is_not_finite_writes_nothing() -> None:
    step, optimizer = network_step(fused=True)
    inputs, targets = np.ones((2, 3), "float32"), np.ones((2, 4), "float32")
    step(inputs, targets)
    before = {each: each.get_value() for each in optimizer.updates}
    with pytest.raises(NonFinite):
        step(inputs * np.float32("nan"), targets)
    for variable, value in before.items():
        np.testing.assert_array_equal(variable.get_value(), value, err_msg=str(variable))
    step(inputs, targets)
    assert float(optimizer.state[-1].get_value()) == 2


def test_clipping_by_the_total_norm_reads_the_norm_that_the_check_found() -> None:
    clipping = [Component(updates.total_norm_constraint, {"max_norm": 0.01})]
    inputs, targets = np.ones((2, 3), "float32"), np.ones((2, 4), "float32")
    ended = []
    for fused in (True, False):
        step, optimizer = network_step(fused, clipping)
        for _ in range(3):
            step(inputs, targets)
        ended.append([variable.get_value() for variable in optimizer.updates])
        if fused:
            nodes = step.functions[0].maker.fgraph.toposort()
            assert sum(isinstance(node.op, FusedUpdate) for node in nodes) == 1
    for found, expected in zip(*ended, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-9)
