"""What tests have computed on a device, in a process of its own: `python -m tests.on_device DEVICE WHAT`."""

from __future__ import annotations

import json
import sys
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


def lacking() -> str:
    """Compile a step with an operation that the device lacks."""
    import numpy as np
    import theano

    x = theano.shared(np.ones((3, 4), "float32"), "x")
    step = theano.function([], updates={x: x / x.max(axis=0)})
    try:
        return runtime.place(step)
    except UsageError as error:
        return str(error)


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
        worst[kind] = max(
            float(np.abs(np.asarray(found) - wanted).max())
            for found, wanted in zip(compute(), expected, strict=True)
        )
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
        worst[f"{kind.__name__} {activation}"] = max(
            float(np.abs(one - other).max(initial=0)) for one, other in zip(found, expected, strict=True)
        )
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


def words() -> list[int]:
    """Draw random words."""
    import numpy as np
    import theano
    from theano import tensor

    from trainer.kernels.random_symbolic import words_of

    state = theano.shared(np.array([123456789123456789, 5]))
    x = tensor.fmatrix()
    drawn: Any = theano.function([x], words_of(x, state))(np.zeros((3, 50), "float32"))
    return [int(word) for word in drawn.ravel()]


WHAT = {each.__name__: each for each in (rules, lacking, refused, words, recurrent, cells, fused)}

if __name__ == "__main__":
    runtime.prepare(name=sys.argv[1], allow_cpu_ops="allow_cpu_ops" in sys.argv)
    print(json.dumps(WHAT[sys.argv[2]]()))
