"""Fused updates on a device: a kernel for each parameter, which reads and writes each element once.

Theano's own operations have one output each there: a rule becomes several for each parameter, which read the
same arrays again. Scalars are computed by Theano, where they are, and handed over: those of the CPU as
numbers, those of the device, such as a norm, as arrays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pygpu
from pygpu import gpuarray
from theano import scalar
from theano.compile import optdb
from theano.gof import Apply, Op
from theano.gpuarray.basic_ops import (
    HostFromGpu,
    as_gpuarray_variable,
    host_from_gpu,
    infer_context_name,
)
from theano.gpuarray.type import GpuArrayType
from theano.tensor.elemwise import Elemwise

from trainer.kernels.device.launching import Argument, DeviceKernel, counts, launch
from trainer.kernels.finite import CheckSums
from trainer.kernels.fused.expressions import plain
from trainer.kernels.fused.fusion import Group, Updates, groups_of, is_computed_tensor, regions_of
from trainer.kernels.fused.graphs import nodes_between, rebuilt
from trainer.kernels.fused.in_place import POSITION, OverwriteOldValues
from trainer.kernels.fused.stages import Stages
from trainer.kernels.fused.trace import SCALAR, STREAM, Trace

_LARGE = 1 << 16  # elements, from which on a launch from Python costs nothing beside the work


def fuse(updates: Mapping[Any, Any], gradients: Collection[Any] = ()) -> Updates:
    """Give the same updates, as `trainer.kernels.fused.fuse` does, computed by kernels of the device.

    What is elementwise of whole tensors goes into kernels. Totals, rows and columns stay Theano's.

    Parameters
    ----------
    updates : mapping
        Each shared variable to its new value. It is left as it was.
    gradients : collection of variables
        Where the expressions of the update begin.

    Returns
    -------
    OrderedDict
        The same variables in the same order; what cannot be fused has its own expression.
    """
    starts = {each for gradient in gradients for each in _starts(gradient)}
    updates, read = _each_read_once(updates, starts)
    replaces = {read[old]: new for old, new in updates.items() if old in read}
    stages = Stages(updates, starts)
    expressions = list(OrderedDict.fromkeys(updates.values()))
    made: dict[Any, Any] = {}
    for stage in range(stages.last + 1):
        wanted = [each for each in expressions if is_computed_tensor(each) and stages.of.get(each) == stage]
        wanted += [each for each in stages.handed(stage) if each not in wanted]
        regions = regions_of(wanted, {*stages.starts, *made}, reads_scalars=True)
        for group in groups_of([each for each in regions if _pays(*each, updates)]):
            inputs = stages.rebuilt(group.reads, made)
            made.update(zip(group.computes, _fused(group, inputs, replaces), strict=True))
    rest = [each for each in expressions if each not in made]
    final = {**dict(zip(rest, stages.rebuilt(rest, made), strict=True)), **made}
    return OrderedDict((variable, final[each]) for variable, each in updates.items())


def _pays(outputs: Sequence[Any], trace: Trace, updates: Mapping[Any, Any]) -> bool:
    """Tell whether a kernel of ours serves a parameter better than Theano's operations."""
    if any(leaf.kind not in (STREAM, SCALAR) for leaf in trace.leaves):
        return False
    # Theano's operations have one result each, and are launched from C.
    replaced = [old for old, new in updates.items() if any(new is each for each in outputs)]
    values = [old.get_value(borrow=True, return_internal_type=True) for old in replaced]
    return len(outputs) > 1 or any(value.size >= _LARGE for value in values)


def _starts(gradient: Any) -> list[Any]:
    """Give what a gradient was before its check, and what the check gives: it becomes part of the update."""
    node = gradient.owner
    if node is not None and isinstance(node.op, Elemwise) and node.op.scalar_op == scalar.mul:
        for given, factor in (node.inputs, reversed(node.inputs)):
            cast = plain(factor).owner
            check = cast.inputs[0].owner if cast is not None and cast.inputs else None
            if check is not None and isinstance(check.op, CheckSums):
                return [given, *check.outputs]
    return [gradient]


def _each_read_once(updates: Mapping[Any, Any], starts: Collection[Any]) -> tuple[Updates, dict[Any, Any]]:
    """Give the updates where each variable of the device is read in one place, and these places."""
    nodes = nodes_between(starts, list(updates.values()))
    read: dict[Any, Any] = {}
    places: dict[Any, Any] = {}
    for node in nodes:
        if isinstance(node.op, HostFromGpu):
            places[node.outputs[0]] = read.setdefault(node.inputs[0], node.outputs[0])
    found = rebuilt(nodes, list(updates.values()), places)
    return OrderedDict(zip(updates, found, strict=True)), read


def _fused(group: Group, inputs: Sequence[Any], replaces: Mapping[Any, Any]) -> list[Any]:
    """Give the new variables of a group of parameters."""
    first = group.traces[0]
    count = len(first.leaves)
    rows = [inputs[at : at + count] for at in range(0, len(inputs), count)]
    # A scalar is read from the device where any of the parameters has it there.
    there = [any(map(_is_on_device, column)) for column in zip(*rows, strict=True)]
    reads = tuple(
        Argument(f"x{place}", leaf.dtype, leaf.kind == STREAM or there[place])
        for place, leaf in enumerate(first.leaves)
    )
    streams = tuple(place for place, leaf in enumerate(first.leaves) if leaf.kind == STREAM)
    replaced = tuple(group.overwrites(range(count), replaces))
    operation = GpuFusedUpdate(_kernel(first, reads), reads, streams, len(rows), replaced)
    node = operation.make_node(*(each for row in rows for each in row))
    return [host_from_gpu(each) for each in node.outputs]


def _is_on_device(variable: Any) -> bool:
    """Tell whether a scalar is computed from tensors; what the check of the gradients gives is the CPU's."""
    waiting, seen = [variable], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each.type, GpuArrayType) or not all(getattr(each.type, "broadcastable", ())):
            return True
        if each in seen or each.owner is None or isinstance(each.owner.op, CheckSums):
            continue
        seen.add(each)
        waiting += each.owner.inputs
    return False


def _kernel(trace: Trace, reads: Sequence[Argument]) -> DeviceKernel:
    """Write a trace as a kernel: numbers, then what it writes, then what it reads."""
    writes = [Argument(f"y{place}", result.dtype) for place, result in enumerate(trace.results)]
    numbers = [each for each in reads if not each.is_array]
    arrays = [Argument(f"in_{each.name}", each.dtype) for each in reads if each.is_array]
    first: list[str] = []
    loop: list[str] = []
    for each, leaf in zip(reads, trace.leaves, strict=True):
        if each.is_array:
            lines, place = (first, "0") if leaf.kind == SCALAR else (loop, "i")
            lines.append(f"const npy_{each.dtype} {each.name} = in_{each.name}[{place}];")
    loop += [f"npy_{each.dtype} {each.name}; {each.text}" for each in trace.statements]
    loop += [f"y{place}[i] = {result.name};" for place, result in enumerate(trace.results)]
    lines = [*first, "EACH(i, n) {", *(f"    {line}" for line in loop), "}"]
    body = "".join(f"    {line}\n" for line in lines)
    return DeviceKernel("fused_update", (*counts("n"), *numbers, *writes, *arrays), body)


class GpuFusedUpdate(Op):  # type: ignore[misc]
    """New values of parameters and states on a device.

    The inputs are, for each parameter, what its kernel reads: arrays of the device, and numbers.

    Parameters
    ----------
    kernel : DeviceKernel
        Computes one parameter's: given the number of elements, the numbers, the results, and the arrays.
    reads : tuple of Argument
        What is read of a parameter.
    streams : tuple of int
        The places among it of those arrays that have an element for each of the parameter's.
    members : int
        Of how many parameters.
    replaced : tuple of int
        For each result, the place among what is read of a parameter of the value that it replaces, or -1.
    overwritten : tuple of int, optional
        For each result, the place whose memory it is written to, or -1; nothing is overwritten where omitted.
    """

    __props__ = ("kernel", "reads", "streams", "members", "replaced", "overwritten")

    def __init__(
        self,
        kernel: DeviceKernel,
        reads: tuple[Argument, ...],
        streams: tuple[int, ...],
        members: int,
        replaced: tuple[int, ...],
        overwritten: tuple[int, ...] | None = None,
    ) -> None:
        self.kernel, self.reads, self.streams = kernel, reads, streams
        self.members, self.replaced = members, replaced
        self.overwritten = (-1,) * len(replaced) if overwritten is None else overwritten
        self.numbers = [place for place, each in enumerate(reads) if not each.is_array]
        self.arrays = [place for place, each in enumerate(reads) if each.is_array]
        self.results = [each.dtype for each in kernel.arguments[1 + len(self.numbers) :][: len(replaced)]]
        self.destroy_map = {
            member * len(replaced) + result: [member * len(reads) + place]
            for member in range(members)
            for result, place in enumerate(self.overwritten)
            if place >= 0
        }

    def __str__(self) -> str:
        return f"GpuFusedUpdate{{{self.members} of {len(self.reads)} to {len(self.replaced)}}}"

    def overwriting(self, places: Sequence[int]) -> GpuFusedUpdate:
        """Give the operation that writes its results to these inputs' memory."""
        given = (self.kernel, self.reads, self.streams, self.members, self.replaced)
        return GpuFusedUpdate(*given, tuple(places))

    def make_node(self, *inputs: Any) -> Any:
        """Give the new values."""
        context = infer_context_name(*inputs)
        given = [
            as_gpuarray_variable(each, context) if read.is_array else each
            for each, read in zip(inputs, self.reads * self.members, strict=True)
        ]
        outputs = []
        for member in range(self.members):
            pattern = given[self._stream(member)].broadcastable
            outputs += [GpuArrayType(dtype, pattern, context_name=context)() for dtype in self.results]
        return Apply(self, given, outputs)

    def _stream(self, member: int) -> int:
        """Give the place of an input that has the shape of a parameter."""
        return member * len(self.reads) + self.streams[0]

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes: nothing needs to be computed for them."""
        return [shapes[self._stream(member)] for member in range(self.members) for _ in self.results]

    def prepare_node(self, node: Any, storage_map: Any, compute_map: Any, impl: Any) -> None:
        """Compile the kernel before the first call."""
        self.kernel.compiled(node.outputs[0].type.context)

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Launch the kernel for each parameter."""
        kernel = self.kernel.compiled(node.outputs[0].type.context)
        count, results = len(self.reads), len(self.results)
        for member in range(self.members):
            cells = outputs[member * results : (member + 1) * results]
            self._launch(kernel, inputs[member * count : (member + 1) * count], cells)

    def _launch(self, kernel: Any, given: Sequence[Any], cells: Sequence[list[Any]]) -> None:
        """Compute one parameter's."""
        first = given[self.streams[0]]
        shape = first.shape
        if any(given[place].shape != shape for place in self.streams):
            shapes = [given[place].shape for place in self.streams]
            raise ValueError(f"fused update: tensors of the shapes {shapes}, which must be one")
        arrays = [gpuarray.ascontiguousarray(given[place]) for place in self.arrays]
        written = []
        for place, dtype in zip(self.overwritten, self.results, strict=True):
            fresh = place < 0
            written.append(
                pygpu.empty(shape, dtype, context=first.context)
                if fresh
                else arrays[self.arrays.index(place)]
            )
        numbers = [given[place].item() for place in self.numbers]
        launch(kernel, first.size, [first.size, *numbers], [*written, *arrays])
        for cell, array in zip(cells, written, strict=True):
            cell[0] = array


optdb.register(
    "overwrite_old_values_on_device",
    OverwriteOldValues(GpuFusedUpdate),
    POSITION,
    "fast_run",
    "inplace",
)
