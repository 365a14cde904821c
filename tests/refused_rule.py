"""An operation whose code no compiler takes, and an update rule with it."""

from __future__ import annotations

from typing import Any

from theano import scalar, tensor

from trainer.updates import update_rule


class Wrong(scalar.UnaryScalarOp):  # type: ignore[misc]
    """What is no C."""

    def impl(self, x: Any) -> Any:
        """Compute it in Python."""
        return x

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Give what is no C."""
        return f"{outputs[0]} = there_is_no_such_name({inputs[0]});"


wrong = tensor.Elemwise(Wrong(scalar.same_out, name="wrong"))


@update_rule
def wrong_step(parameter: Any, gradient: Any, *, learning_rate: Any = 0.1) -> Any:
    """Go by what cannot be compiled."""
    return parameter - learning_rate * wrong(gradient)
