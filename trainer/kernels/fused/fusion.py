"""From symbolic updates to fused ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theano import tensor

from trainer.kernels.fused.expressions import is_elementwise, is_scalar, plain
from trainer.kernels.fused.graphs import nodes_between, rebuilt
from trainer.kernels.fused.norms import known_sums
from trainer.kernels.fused.operation import fused_node
from trainer.kernels.fused.program import write
from trainer.kernels.fused.squares import is_squares, with_squares
from trainer.kernels.fused.stages import Stages
from trainer.kernels.fused.trace import SCALAR, STREAM, TOTAL, Trace, Unfit

Updates = OrderedDict[Any, Any]


def fuse(updates: Mapping[Any, Any], gradients: Collection[Any] = ()) -> Updates:
    """Give the same updates, computed by few kernels that read and write each element once.

    What is elementwise of an update goes into a kernel: of all parameters whose updates are the same
    mathematics, into one, with their states, and with the scalars that they share. What is not, such as the
    largest element of a row, stays as it is between two kernels; the total of a tensor and the squares of
    its rows or columns are summed by a kernel. The new values are those of the symbolic updates to rounding.

    Parameters
    ----------
    updates : mapping
        Each shared variable to its new value. It is left as it was.
    gradients : collection of variables
        Where the expressions of the update begin: what they are computed by stays as it is.

    Returns
    -------
    OrderedDict
        The same variables in the same order; what cannot be fused has its own expression.
    """
    # What is computed with a gradient, such as the norm of all, is no more the update's than the gradient is.
    starts = {each for start in gradients for each in (start.owner.outputs if start.owner else [start])}
    updates = with_squares(_with_known_norms(updates, starts), starts)
    stages = Stages(updates, starts)
    expressions = list(OrderedDict.fromkeys(updates.values()))
    made: dict[Any, Any] = {}
    scalars: dict[Any, Any] = {}
    for stage in range(stages.last + 1):
        wanted = [each for each in expressions if is_computed_tensor(each) and stages.of.get(each) == stage]
        alone = [
            each
            for each in expressions
            if _is_computed_scalar(each) and stages.of.get(each, stage + 1) <= stage and each not in scalars
        ]
        wanted += [each for each in stages.handed(stage) if each not in wanted]
        sums = [*stages.totals(stage), *stages.squares(stage)]
        regions = regions_of([*wanted, *sums], {*stages.starts, *made})
        for group in groups_of(regions):
            inputs = stages.rebuilt(group.reads, made)
            outputs = group.fused(inputs, alone, updates)
            scalars.update(zip(alone, outputs, strict=False))
            made.update(zip(group.computes, outputs[len(alone) :], strict=True))
            alone = []
    rest = [each for each in expressions if each not in made and each not in scalars]
    final = {**dict(zip(rest, stages.rebuilt(rest, made), strict=True)), **made, **scalars}
    return OrderedDict((variable, final[each]) for variable, each in updates.items())


def _with_known_norms(updates: Mapping[Any, Any], starts: Collection[Any]) -> Mapping[Any, Any]:
    """Read the total norm where the check of the step has found it."""
    expressions = list(updates.values())
    nodes = nodes_between(starts, expressions)
    sums = known_sums(nodes)
    if not sums:
        return updates
    return OrderedDict(zip(updates, rebuilt(nodes, expressions, sums), strict=True))


@dataclass
class Group:
    """Parameters whose updates are one program, with the traces that say so."""

    outputs: list[list[Any]]
    traces: list[Trace]

    @property
    def common(self) -> list[int]:
        """The places of those leaves that are the same scalar for all."""
        first = self.traces[0]
        return [
            place
            for place, leaf in enumerate(first.leaves)
            if leaf.kind == SCALAR
            and all(trace.variables[place] is first.variables[place] for trace in self.traces)
        ]

    @property
    def reads(self) -> list[Any]:
        """All variables that are read."""
        return [variable for trace in self.traces for variable in trace.variables]

    @property
    def computes(self) -> list[Any]:
        """All variables that are computed, parameter by parameter."""
        return [output for outputs in self.outputs for output in outputs]

    def fused(self, inputs: Sequence[Any], scalars: Sequence[Any], updates: Mapping[Any, Any]) -> list[Any]:
        """Give the new variables: of the scalars, then of what is computed.

        Parameters
        ----------
        inputs : sequence of variables
            What stands in the places of `reads`.
        scalars : sequence of variables
            Scalar expressions that the kernel computes as well.
        updates : mapping
            Each shared variable to its new value.
        """
        example, count = self.traces[0], len(self.traces[0].leaves)
        common = self.common
        own = [place for place in range(count) if place not in common]
        rows = [list(inputs[at : at + count]) for at in range(0, len(inputs), count)]
        overwrites = self.overwrites(own, updates)
        for each in scalars:
            example.add(each)
        added = example.variables[count:]
        common += range(count, len(example.leaves))
        commons = [example.variables[place] for place in common]
        examples = [
            ([*commons, *(trace.variables[place] for place in own)], [*scalars, *outputs])
            for trace, outputs in zip(self.traces, self.outputs, strict=True)
        ]
        # The scalars that are added read nothing that a kernel has made, or `rebuilt` has it.
        first = [*rows[0], *added]
        node = fused_node(
            write(example, common, len(scalars)),
            [first[place] for place in common],
            [[row[place] for place in own] for row in rows],
            examples,
            [trace.split for trace in self.traces],
            overwrites,
        )
        return list(node.outputs)

    def overwrites(self, own: Sequence[int], updates: Mapping[Any, Any]) -> list[int]:
        """For each result, give the place of the variable whose new value it is among what is read, or -1.

        Parameters
        ----------
        own : sequence of int
            The places of the leaves among which that is looked for.
        updates : mapping
            Each variable, as it is read, to its new value.
        """
        replaces = {id(new): old for old, new in reversed(list(updates.items()))}
        found = []
        for result in range(len(self.outputs[0])):
            places = {
                self._place(trace, replaces.get(id(outputs[result])), own)
                for trace, outputs in zip(self.traces, self.outputs, strict=True)
            }
            found.append(places.pop() if len(places) == 1 else -1)
        return found

    @staticmethod
    def _place(trace: Trace, variable: Any, own: Sequence[int]) -> int:
        streams = [trace.variables[place] if trace.leaves[place].kind == STREAM else None for place in own]
        return streams.index(variable) if variable is not None and variable in streams else -1


def is_computed_tensor(expression: Any) -> bool:
    """Tell whether an expression is a tensor that is computed element by element."""
    return (
        isinstance(expression.type, tensor.TensorType)
        and not is_scalar(expression)
        and is_elementwise(expression.owner)
    )


def _is_computed_scalar(expression: Any) -> bool:
    return is_scalar(expression) and expression.ndim == 0 and is_elementwise(plain(expression).owner)


def regions_of(
    outputs: Sequence[Any], stops: Collection[Any], reads_scalars: bool = False
) -> list[tuple[list[Any], Trace]]:
    """Put outputs that read the same tensors together, each such region with its trace."""
    regions: list[tuple[set[Any], list[Any]]] = []
    for output in outputs:
        trace = _traced([output], stops, reads_scalars)
        if trace is None:
            continue
        streams = {
            variable
            for variable, leaf in zip(trace.variables, trace.leaves, strict=True)
            if leaf.kind == STREAM
        }
        joined = [region for region in regions if not streams.isdisjoint(region[0])]
        regions = [region for region in regions if region not in joined]
        members = [each for _, known in joined for each in known]
        regions.append((streams.union(*(known for known, _ in joined)), [*members, output]))
    traced = [(members, _traced(members, stops, reads_scalars)) for _, members in regions]
    return [(members, trace) for members, trace in traced if trace is not None]


def _traced(outputs: Sequence[Any], stops: Collection[Any], reads_scalars: bool) -> Trace | None:
    """Trace outputs that belong together; None where they make no program."""
    first = outputs[0]
    is_sum = is_scalar(first) or is_squares(first.owner)
    pattern = first.owner.inputs[0].broadcastable if is_sum else first.broadcastable
    trace = Trace(pattern, stops, reads_scalars)
    try:
        for output in outputs:
            trace.add(output)
    except Unfit:
        return None
    reads = any(leaf.kind == STREAM for leaf in trace.leaves)
    computes = bool(trace.statements) or any(result.kind == TOTAL for result in trace.results)
    return trace if reads and computes else None


def groups_of(regions: Sequence[tuple[list[Any], Trace]]) -> list[Group]:
    """Put regions together whose traces are one program."""
    groups: dict[Any, Group] = {}
    for outputs, trace in regions:
        group = groups.setdefault(trace.signature, Group([], []))
        group.outputs.append(outputs)
        group.traces.append(trace)
    return list(groups.values())
