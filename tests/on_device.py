"""What tests have computed on a device, in a process of its own: `python -m tests.on_device DEVICE WHAT`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from trainer import runtime
from trainer.errors import UsageError


def rules() -> dict[str, Any]:
    """Follow the nine rules and the wrappers on the device, beside their formulas."""
    import theano

    from tests.updates import following, test_formulas
    from trainer.kernels.fused import fuse

    def build(name: str, gradients: list[Any], params: list[Any], learning_rate: Any) -> Any:
        return fuse(test_formulas.build(name, gradients, params, learning_rate), gradients)

    compiled: list[Any] = []
    compile_function = theano.function

    def remembering(*arguments: Any, **options: Any) -> Any:
        compiled.append(compile_function(*arguments, **options))
        return compiled[-1]

    theano.function = remembering
    shape = {"matrix": following.SHAPES["matrix"]}
    errors = following.worst_errors(test_formulas.RULES, build, "float64", shape, mode=None)
    nodes = compiled[0].maker.fgraph.toposort()
    on_cpu = {
        str(node.op) for node in nodes if any(each.ndim for each in node.outputs) and not _is_on_device(node)
    }
    return {"errors": errors, "operations on the CPU": sorted(on_cpu)}


def _is_on_device(node: Any) -> bool:
    return all(type(each.type).__name__ == "GpuArrayType" for each in node.outputs)


def _apart(found: Iterable[Any], wanted: Iterable[Any]) -> float:
    """Give the largest difference; not a number, where there is one."""
    import numpy as np

    pairs = zip(found, wanted, strict=True)
    return float(np.max([np.abs(np.asarray(one) - other).max(initial=0) for one, other in pairs]))


def lacking() -> list[str]:
    """Compile a step with an operation that the device lacks, and run it; return what a log would say."""
    import numpy as np
    import theano

    x = theano.shared(np.ones((300, 40), "float32"), "x")
    step = theano.function([], updates={x: x / x.sort(axis=0)})
    try:
        told = [runtime.place(step)]
    except UsageError as error:
        return [str(error)]
    watchers = runtime.costs_on_cpu([step], told.append)
    for _ in range(15):
        step()
        for watcher in watchers:
            watcher()
    return told


def refused() -> list[str | None]:
    """Compile operations whose code no compiler takes, Theano's own and one of ours, and tell the errors."""
    import numpy as np
    import theano
    from theano import tensor

    from tests.refused_rule import wrong
    from trainer.commands.faults import explain_fault
    from trainer.kernels.fused import fuse

    told = []
    x, y = (theano.shared(np.ones(3, "float32"), name) for name in "xy")
    for updates in ({x: wrong(x)}, fuse({x: wrong(x) + y, y: tensor.sqr(x) * y})):
        try:
            theano.function([], updates=updates)
        except Exception as error:
            told.append(explain_fault(error))
    return told


def recurrent() -> dict[str, float]:
    """Compute recurrent layers and their gradients, and say how far they are from PyTorch's."""
    from pathlib import Path

    import numpy as np
    import theano

    from tests.test_recurrent import KINDS, converted
    from trainer.layers import Masking
    from trainer.models import Network

    worst = {}
    with np.load(Path(__file__).parent / "references" / "recurrent.npz") as file:
        reference = dict(file)
    for kind, layer in KINDS.items():
        case = f"{kind}_bidirectional_lengths/"
        table = {key[len(case) :]: value for key, value in reference.items() if key.startswith(case)}
        inputs = table["x"].swapaxes(0, 1)
        units = table["weight_hh_l0"].shape[1]
        network = Network([Masking(), layer(units, bidirectional=True)], inputs.shape[1:])
        network.load_weights({f"{kind}_1.{name}": value for name, value in converted(kind, table).items()})
        x = theano.shared(inputs)
        output = network.output(x, training=True)
        gradients = theano.grad((output * table["g"]).sum(), [x, *network.parameters])
        compute = theano.function([], [output, *gradients])
        runtime.place(compute)
        theirs = converted(kind, table, "gradient_of_", gradient=True)
        expected = [table["last"], table["gradient_of_x"].swapaxes(0, 1)]
        expected += [theirs[parameter.name.split(".")[1]] for parameter in network.parameters]
        worst[kind] = _apart(compute(), expected)
    return worst


def cells() -> dict[str, float]:
    """Compute each activation in a cell on the device, and say how far it is from NumPy's."""
    from itertools import cycle

    import numpy as np
    from pygpu import gpuarray
    from theano.gpuarray.type import GpuArrayType, get_context

    from trainer.kernels.cells import ACTIVATIONS, GRUCell, LSTMCell, SimpleCell
    from trainer.kernels.device import recurrent
    from trainer.kernels.recurrent_numpy import Reading

    steps, examples, units = 3, 4, 5
    random = np.random.default_rng(3)
    context = get_context(None)

    def run(op: Any, *given: Any) -> list[Any]:
        arrays = [gpuarray.array(each, context=context) for each in given]
        node = op.make_node(*(GpuArrayType("float64", (False,) * each.ndim)() for each in given))
        storage: list[list[Any]] = [[None] for _ in node.outputs]
        op.perform(node, arrays, storage)
        return [np.asarray(place[0]) for place in storage]

    worst = {}
    for activation, kind in zip(ACTIVATIONS, cycle((SimpleCell, LSTMCell, GRUCell)), strict=False):
        cell = kind(activation)
        projected = random.normal(size=(steps, examples, cell.gates * units))
        weights = random.normal(size=(units, cell.gates * units))
        bias = random.normal(size=cell.biases * units)
        states = [random.normal(size=(examples, units)) for _ in range(cell.states)]
        off = random.random((steps, examples)) < 0.3
        arriving = [random.normal(size=(steps, examples, units)) for _ in states]
        mask = (~off).astype("float64")
        reading = Reading(cell, True, weights, None, off, states)
        expected = reading.forward(projected, bias)
        forward = recurrent.GpuRecurrence(cell, True, True, "float64")
        found = run(forward, projected, weights, bias, mask, *states)
        d_sums, d_recurrent, d_states = reading.backward(expected[0], expected[1:], arriving)
        expected += [d_sums, *([d_recurrent] if d_recurrent is not d_sums else []), *d_states]
        backward = recurrent.GpuRecurrenceGradient(cell, True, True, "float64", (True,) * cell.states)
        found += run(backward, found[0], weights, mask, *states, *found[1:], *arriving)
        worst[f"{kind.__name__} {activation}"] = _apart(found, expected)
    return worst


def fused() -> dict[str, list[int]]:
    """Check fused updates against the symbolic ones, and say of how many parameters each kernel is."""
    import theano

    from tests.test_fused import ARRANGED, assert_same, configured, problem, step_through
    from trainer.kernels.device.updates import GpuFusedUpdate

    small = {"matrix": (5, 7), "bias": (7,)}
    cases = {name: (ARRANGED[name], small) for name in ("adam", "lars", "rprop", "clipping=total_norm")}
    cases["sgd"] = ({"rule": configured("optimizer", "sgd")[0]}, {"large": (256, 256), "bias": (256,)})
    found = {}
    for name, (parts, shapes) in cases.items():
        both = [problem(each, shapes=shapes, **parts) for each in (True, False)]
        functions = [theano.function([], updates=each.optimizer.updates) for each in both]

        def step(functions: Any = functions) -> None:
            for function in functions:
                function()

        step_through(step, both)
        assert_same(both[0], both[1])
        operations = [node.op for node in functions[0].maker.fgraph.toposort()]
        kernels = [op for op in operations if isinstance(op, GpuFusedUpdate)]
        assert all(op.overwritten == op.replaced for op in kernels)
        found[name] = [op.members for op in kernels]
    return found


def passes() -> dict[str, float]:
    """Compute layers' biases, activations and dropout, and say how far they and their gradients are off."""
    from collections import OrderedDict

    import numpy as np
    import theano

    from tests.test_masks_after_activations import REFERENCES
    from trainer.kernels.activation import activated
    from trainer.kernels.random import RandomMasks
    from trainer.kernels.random_words import mask

    random = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for function, (value, slope) in REFERENCES.items():
        for shape in ((150, 13), (5, 3, 7, 6)):
            x, g = (theano.shared(random.normal(size=shape)) for _ in range(2))
            b = theano.shared(random.normal(size=shape[1]))
            masks = RandomMasks(3, function)
            # What is activated is kept in the first case, and may be written over in the second.
            y, again = (activated(each, b, function) for each in (x * 1, x + 1))
            dropped = masks.dropped(y, 0.3)
            gradients = theano.grad(None, [x, b], known_grads=OrderedDict([(dropped, g * 1), (again, g + 1)]))
            compute = theano.function([], [dropped, again, *gradients])
            runtime.place(compute)
            others = tuple(axis for axis in range(len(shape)) if axis != 1)
            for _ in range(2):
                kept = mask(masks.states[0].get_value(), 0.3, shape, "float64")
                found = [np.asarray(each) for each in compute()]
                biased = x.get_value() + b.get_value().reshape(-1, *[1] * (len(shape) - 2))
                to_x = g.get_value() * slope(biased) * kept + (g.get_value() + 1) * slope(biased + 1)
                wanted = [value(biased) * kept, value(biased + 1), to_x, to_x.sum(axis=others)]
                case = f"{function} {len(shape)}"
                worst[case] = float(np.maximum(worst.get(case, 0), _apart(found, wanted)))
    return worst


def drawn() -> dict[str, list[float]]:
    """Draw masks, dropped from a tensor and behind a layer, and noise."""
    import numpy as np
    import theano
    from theano import tensor

    from trainer.kernels.activation import activated
    from trainer.kernels.normal import noisy
    from trainer.kernels.random import RandomMasks

    masks = RandomMasks(3, "a name")
    x = theano.shared(np.ones((3, 50), "float32"))
    b = theano.shared(np.zeros(50, "float32"))
    state = theano.shared(np.array([123456789123456789, 5]))
    found = {
        "dropped": masks.dropped(tensor.as_tensor_variable(x), 0.4),
        "behind a layer": masks.dropped(activated(x, b, "relu"), 0.4),
        "noise": noisy(tensor.as_tensor_variable(x), 1.0, state)[0],
    }
    compute = theano.function([], list(found.values()))
    compute()
    return {name: np.asarray(each).ravel().tolist() for name, each in zip(found, compute(), strict=True)}


WHAT = {each.__name__: each for each in (rules, lacking, refused, drawn, passes, recurrent, cells, fused)}

if __name__ == "__main__":
    runtime.prepare(name=sys.argv[1], allow_cpu_ops="allow_cpu_ops" in sys.argv)
    print(json.dumps(WHAT[sys.argv[2]]()))
