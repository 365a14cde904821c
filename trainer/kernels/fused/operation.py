"""The Theano operation that runs a program over many parameters at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import theano
from theano import tensor
from theano.gof import Apply

from trainer.kernels.fused.graphs import nodes_between, rebuilt
from trainer.kernels.fused.program import Program
from trainer.kernels.fused.trace import COLUMN, ROW, STREAM, Result
from trainer.kernels.plans import Planned

Example = tuple[list[Any], list[Any]]
"""Variables, and what is computed of them."""


class FusedUpdate(Planned):
    """New values of parameters and states, each element read once and written once.

    The inputs are the program's common scalars, then for each parameter what the program reads of it. The
    outputs are the common results, then for each parameter its results.

    Parameters
    ----------
    program : Program
        What is computed.
    members : int
        Of how many parameters.
    examples : list of pairs of lists of variables
        For each parameter the inputs and outputs of the same computation as Theano's own operations, by which
        the operation runs where there is no C compiler; parameters that are alike share one.
    splits : tuple of int
        For each parameter, the axis from which on it has rows; 0 where nothing depends on that.
    replaced : tuple of int
        For each result of a parameter, the place among what is read of it of the value that it replaces,
        or -1.
    overwritten : tuple of int, optional
        For each result, the place whose memory it is written to, or -1; nothing is overwritten where omitted.
    """

    __props__ = ("program", "members", "splits", "replaced", "overwritten")

    def __init__(
        self,
        program: Program,
        members: int,
        examples: Sequence[Example],
        splits: tuple[int, ...],
        replaced: tuple[int, ...],
        overwritten: tuple[int, ...] | None = None,
    ) -> None:
        self.program, self.members, self.examples = program, members, list(examples)
        self.splits, self.replaced = splits, replaced
        self.overwritten = (-1,) * len(replaced) if overwritten is None else overwritten
        self.destroy_map = {
            len(program.common_results) + member * len(program.results) + result: [
                len(program.commons) + member * len(program.leaves) + place
            ]
            for member in range(members)
            for result, place in enumerate(self.overwritten)
            if place >= 0
        }

    def __str__(self) -> str:
        return f"FusedUpdate{{{self.members} × {self.program.digest[:8]}}}"

    def overwriting(self, places: Sequence[int]) -> FusedUpdate:
        """Give the operation that writes its results to these inputs' memory."""
        return FusedUpdate(
            self.program, self.members, self.examples, self.splits, self.replaced, tuple(places)
        )

    def make_node(self, *inputs: Any) -> Apply:
        """Give the new values."""
        program = self.program
        results = [tensor.TensorType(result.dtype, ())() for result in program.common_results]
        for member in range(self.members):
            read = self.of_member(inputs, member)
            stream = next(v for v, leaf in zip(read, program.leaves, strict=True) if leaf.kind == STREAM)
            results += [
                tensor.TensorType(result.dtype, self._part(stream.broadcastable, result, member))()
                for result in program.results
            ]
        return Apply(self, list(inputs), results)

    def of_member(self, inputs: Sequence[Any], member: int) -> Sequence[Any]:
        """Give what is read of one parameter."""
        first = len(self.program.commons) + member * len(self.program.leaves)
        return inputs[first : first + len(self.program.leaves)]

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes: nothing needs to be computed for them."""
        program = self.program
        known: list[Any] = [()] * len(program.common_results)
        stream = [leaf.kind for leaf in program.leaves].index(STREAM)
        for member in range(self.members):
            shape = self.of_member(shapes, member)[stream]
            known += [self._part(shape, result, member) for result in program.results]
        return known

    def _part(self, of_stream: Any, result: Result, member: int) -> Any:
        """Give what a result has of its parameter's shape, or of its pattern."""
        split = self.splits[member]
        if result.kind == STREAM:
            return of_stream
        return of_stream[split:] if result.kind == ROW else of_stream[:split] if result.kind == COLUMN else ()

    def kernel(self) -> str:
        """Give the C of the program."""
        return self.program.text

    def numbers(self) -> Sequence[int]:
        """Give what the C cannot know: how many parameters, what is overwritten, where rows begin."""
        return [self.members, *self.overwritten, *self.splits]

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Do by Theano's own operations what the kernel does."""
        commons, scalars = inputs[: len(self.program.commons)], len(self.program.common_results)
        values: list[Any] = []
        for member, by_theano in enumerate(self._by_theano):
            found = by_theano(*commons, *self.of_member(inputs, member))
            values += found[scalars if values else 0 :]
        for cell, value, variable in zip(outputs, values, node.outputs, strict=True):
            cell[0] = np.array(value, variable.dtype)

    @cached_property
    def _by_theano(self) -> list[Any]:
        made: dict[int, Any] = {}
        for example in self.examples:
            if id(example) not in made:
                options = {"mode": theano.Mode("py", None), "on_unused_input": "ignore"}
                made[id(example)] = theano.function(*example, **options)
        return [made[id(example)] for example in self.examples]


def fused_node(
    program: Program,
    commons: Sequence[Any],
    members: Sequence[Sequence[Any]],
    examples: Sequence[tuple[Sequence[Any], Sequence[Any]]],
    splits: Sequence[int],
    replaced: Sequence[int],
) -> Any:
    """Make the node that computes a program for several parameters.

    Parameters
    ----------
    program : Program
        What is computed.
    commons : sequence of variables
        The scalars that all parameters read.
    members : sequence of sequences of variables
        What is read of each parameter.
    examples : sequence of pairs of sequences of variables
        As for `FusedUpdate`, in the order of the node's inputs and outputs; they are copied.
    splits, replaced : sequence of int
        As for `FusedUpdate`.
    """
    known: dict[Any, Example] = {}
    for leaves, outputs in examples:
        if _kind(leaves) not in known:
            known[_kind(leaves)] = _detached(leaves, outputs)
    alike = [known[_kind(leaves)] for leaves, _ in examples]
    operation = FusedUpdate(program, len(members), alike, tuple(splits), tuple(replaced))
    return operation.make_node(*commons, *(variable for member in members for variable in member))


def _kind(leaves: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(variable.type for variable in leaves)


def _detached(leaves: Sequence[Any], outputs: Sequence[Any]) -> Example:
    """Copy expressions, with variables in the places of what they read."""
    fresh = {variable: variable.type() for variable in leaves}
    return list(fresh.values()), rebuilt(nodes_between(fresh, outputs), outputs, fresh)
