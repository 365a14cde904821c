"""Which part of a dictionary of updates can be computed before which: the stages between the kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from theano import tensor

from trainer.kernels.fused.expressions import is_elementwise, is_scalar, is_total
from trainer.kernels.fused.graphs import nodes_between, rebuilt
from trainer.kernels.fused.squares import is_squares
from trainer.kernels.fused.trace import fits


class Stages:
    """The nodes between what a step starts from and the new values, and when each can be computed.

    A kernel computes elementwise expressions and totals. What needs its results in another way, such as a
    matrix product or the maximum of rows, stands between two kernels: the second belongs to the next stage.

    Parameters
    ----------
    updates : mapping
        Each shared variable to its new value.
    starts : collection of variables
        Where the expressions of an update begin: the gradients.

    Attributes
    ----------
    nodes : list
        All nodes of the updates, inputs first.
    of : dict
        Each variable to its stage, from 0.
    """

    def __init__(self, updates: Mapping[Any, Any], starts: Collection[Any]) -> None:
        self.starts = set(starts)
        self.nodes = nodes_between(self.starts, list(updates.values()))
        self.of: dict[Any, int] = {}
        self._belongs: set[Any] = {*self.starts, *updates}
        self._computed: set[Any] = set()
        self._handed: dict[Any, None] = {}
        for node in self.nodes:
            self._place(node)

    def _place(self, node: Any) -> None:
        belongs = any(each in self._belongs for each in node.inputs)
        stage, computed = self._stage_of(node)
        for output in node.outputs:
            self.of[output] = stage
            if belongs:
                self._belongs.add(output)
            if belongs and computed and not is_scalar(output):
                self._computed.add(output)

    def _stage_of(self, node: Any) -> tuple[int, bool]:
        """Give a node's stage, and whether a kernel computes it."""
        before = [self.of.get(each, 0) for each in node.inputs]
        if is_total(node):
            # The kernel that sums is one before the one that reads the sum.
            return before[0] + (node.inputs[0] in self._belongs), False
        output = node.outputs[0]
        computes = isinstance(output.type, tensor.TensorType) and is_elementwise(node)
        if computes and not is_scalar(output):
            computes = all(fits(output.broadcastable, each) for each in node.inputs)
        stage = 0
        for each, known in zip(node.inputs, before, strict=True):
            beside = computes and (is_scalar(each) or each.broadcastable == output.broadcastable)
            if each in self._computed and not beside:
                self._handed[each] = None
                known += 1
            stage = max(stage, known)
        return stage, computes

    def handed(self, stage: int) -> list[Any]:
        """Give what a kernel of this stage computes for others than kernels, or as their rows and columns."""
        return [each for each in self._handed if self.of[each] == stage]

    def totals(self, stage: int) -> list[Any]:
        """Give the totals that a kernel of this stage sums."""
        return [
            node.outputs[0]
            for node in self.nodes
            if is_total(node)
            and node.outputs[0].ndim == 0
            and node.inputs[0] in self._belongs
            and self.of.get(node.inputs[0], 0) == stage
        ]

    def squares(self, stage: int) -> list[Any]:
        """Give the sums of squares, along some axes, of what a kernel of this stage computes."""
        return [
            node.outputs[0]
            for node in self.nodes
            if is_squares(node) and node.inputs[0] in self._computed and self.of[node.inputs[0]] == stage
        ]

    @property
    def last(self) -> int:
        """The number of the last stage."""
        return max(self.of.values(), default=0)

    def rebuilt(self, variables: Sequence[Any], replaced: Mapping[Any, Any]) -> list[Any]:
        """Give variables as they are where others stand in the places of some."""
        if not replaced:
            return list(variables)
        needed = set(nodes_between({*self.starts, *replaced}, variables))
        return rebuilt([node for node in self.nodes if node in needed], variables, replaced)
