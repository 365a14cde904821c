"""Letting the compiled function write new values over the old ones, where nothing needs those any more."""

from __future__ import annotations

from typing import Any

from theano.compile import optdb
from theano.gof import DestroyHandler, InconsistencyError
from theano.gof.opt import Optimizer

from trainer.kernels.fused.operation import FusedUpdate

# After the matrix products' own (70), before the elementwise operations' (75), which would come in between.
POSITION = 70.5


class OverwriteOldValues(Optimizer):  # type: ignore[misc]
    """Write each result to the memory of the value that it replaces; where that cannot be, to its own.

    Parameters
    ----------
    operation : type, default FusedUpdate
        Whose results; it says what they replace, and gives the operation that overwrites.
    """

    def __init__(self, operation: type[Any] = FusedUpdate) -> None:
        self.operation = operation

    def add_requirements(self, fgraph: Any) -> None:
        """Let the graph refuse what would overwrite a value that is still needed."""
        fgraph.attach_feature(DestroyHandler())

    def apply(self, fgraph: Any) -> None:
        """Change all fused updates of a graph."""
        for node in list(fgraph.toposort()):
            if isinstance(node.op, self.operation) and not _overwritten(fgraph, node, node.op.replaced):
                _overwrite_one_by_one(fgraph, node)


def _overwrite_one_by_one(fgraph: Any, node: Any) -> None:
    """Overwrite what may be, where not everything may."""
    wanted = node.op.replaced
    accepted = [-1] * len(wanted)
    for result, place in enumerate(wanted):
        attempt = [*accepted[:result], place, *accepted[result + 1 :]]
        changed = _overwritten(fgraph, node, attempt) if place >= 0 else None
        if changed is not None:
            node, accepted = changed, attempt


def _overwritten(fgraph: Any, node: Any, places: Any) -> Any:
    """Put a node in the place of another; give it, or None where the graph refuses."""
    made = node.op.overwriting(places).make_node(*node.inputs)
    try:
        fgraph.replace_all_validate(
            list(zip(node.outputs, made.outputs, strict=True)), reason="overwrite_old_values"
        )
    except InconsistencyError:
        return None
    return made


if "overwrite_old_values" not in optdb.__db__:
    optdb.register("overwrite_old_values", OverwriteOldValues(), POSITION, "fast_run", "inplace")
