"""Operations that may write their first result over an input that nothing else needs any more."""

from __future__ import annotations

from typing import Any, ClassVar

from theano.compile import optdb
from theano.gof import DestroyHandler, InconsistencyError, Op
from theano.gof.opt import Optimizer


class Overwriting(Op):  # type: ignore[misc]
    """An operation whose first output may be written over one of its inputs.

    Attributes
    ----------
    overwritten : int
        The input's place.
    in_place : bool
        Whether it is.
    """

    overwritten: ClassVar[int] = 0

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place
        if in_place:
            self.destroy_map = {0: [self.overwritten]}

    def overwriting(self) -> Overwriting:
        """Give the operation that overwrites; each kind has its own."""
        raise NotImplementedError


class OverwriteInputs(Optimizer):  # type: ignore[misc]
    """Let results be written over inputs that nothing else needs any more."""

    def add_requirements(self, fgraph: Any) -> None:
        """Let the graph refuse what would overwrite a value that is still needed."""
        fgraph.attach_feature(DestroyHandler())

    def apply(self, fgraph: Any) -> None:
        """Change all operations of a graph that may overwrite."""
        for node in list(fgraph.toposort()):
            if not isinstance(node.op, Overwriting) or node.op.in_place:
                continue
            made = node.op.overwriting().make_node(*node.inputs)
            try:
                fgraph.replace_all_validate(
                    list(zip(node.outputs, made.outputs, strict=True)), reason="overwrite_inputs"
                )
            except InconsistencyError:
                continue


# After the matrix products' own (70), before the elementwise operations' (75), which would come in between.
if "overwrite_inputs" not in optdb.__db__:
    optdb.register("overwrite_inputs", OverwriteInputs(), 70.6, "fast_run", "inplace")
