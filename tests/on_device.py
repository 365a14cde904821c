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

    compiled: list[Any] = []
    compile_function = theano.function

    def remembering(*arguments: Any, **options: Any) -> Any:
        compiled.append(compile_function(*arguments, **options))
        return compiled[-1]

    theano.function = remembering
    shape = {"matrix": following.SHAPES["matrix"]}
    errors = following.worst_errors(test_formulas.RULES, test_formulas.build, "float64", shape, mode=None)
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


def refused() -> str:
    """Compile an operation whose code no compiler takes."""
    import numpy as np
    import theano
    from theano import scalar, tensor

    class Wrong(scalar.UnaryScalarOp):  # type: ignore[misc]
        """What is no C."""

        def impl(self, x: Any) -> Any:
            """Compute it in Python."""
            return x

        def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
            """Give what is no C."""
            return f"{outputs[0]} = there_is_no_such_name({inputs[0]});"

    wrong = tensor.Elemwise(Wrong(scalar.same_out, name="wrong"))
    try:
        theano.function([], wrong(theano.shared(np.ones(3, "float32"))))
    except RuntimeError:
        return "refused"
    return "taken"


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


WHAT = {"rules": rules, "lacking": lacking, "refused": refused, "words": words}

if __name__ == "__main__":
    runtime.prepare(name=sys.argv[1], allow_cpu_ops="allow_cpu_ops" in sys.argv)
    print(json.dumps(WHAT[sys.argv[2]]()))
