"""The elementwise part of some expressions, as statements that tell nothing of the variables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from trainer.kernels.fused.expressions import (
    Pattern,
    is_elementwise,
    is_scalar,
    is_total,
    literal,
    plain,
    split_of,
    statement,
)
from trainer.kernels.fused.squares import is_squares

STREAM, ROW, COLUMN, SCALAR, TOTAL = "stream", "row", "column", "scalar", "total"


@dataclass(frozen=True)
class Leaf:
    """What a program reads."""

    kind: str
    dtype: str


@dataclass(frozen=True)
class Statement:
    """The C that computes one value: its name and type, the text, and the names in it."""

    name: str
    dtype: str
    text: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What a program gives, and the name of its element.

    A tensor; of a tensor the total, or a row or column of sums of squares; or a scalar.
    """

    kind: str
    dtype: str
    name: str


class Unfit(Exception):
    """Raised where expressions make no program."""


@dataclass
class Trace:
    """The elementwise part of some expressions, as statements; names tell nothing of variables.

    Parameters
    ----------
    pattern : tuple of bool
        The broadcastable pattern of the tensors that are computed.
    stops : collection
        Variables that are read and not computed.
    reads_scalars : bool, default False
        Whether scalars are read, and none is computed.
    """

    pattern: Pattern
    stops: Collection[Any]
    reads_scalars: bool = False
    variables: list[Any] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    split: int = 0
    _names: dict[Any, str] = field(default_factory=dict)

    @property
    def signature(self) -> tuple[Any, ...]:
        """Two traces with the same one are the same program on other variables."""
        return tuple(self.leaves), tuple(self.statements), tuple(self.results)

    def add(self, output: Any) -> None:
        """Trace an expression: a tensor, a scalar, the total of a tensor, or sums of its squares.

        Raises
        ------
        Unfit
            Where rows and columns of two splits meet.
        """
        kind, computed = STREAM, output
        if is_total(output.owner) and output not in self.stops:
            kind, computed = TOTAL, output.owner.inputs[0]
        elif is_squares(output.owner) and output not in self.stops:
            operation = output.owner.op
            kind, computed = ROW if operation.leading else COLUMN, output.owner.inputs[0]
            self._splits(operation.split)
        elif is_scalar(output):
            kind, computed = SCALAR, plain(output)
        self.results.append(Result(kind, output.dtype, self._name(computed)))

    def _name(self, output: Any) -> str:
        waiting = [output]
        while waiting:
            variable = waiting[-1]
            if self._known(variable) is not None:
                waiting.pop()
                continue
            node = variable.owner
            if not self._computed(variable):
                self._read(variable)
                waiting.pop()
                continue
            inputs = [plain(each) for each in node.inputs]
            unknown = [each for each in inputs if self._known(each) is None]
            if unknown:
                waiting += reversed(unknown)
                continue
            self._compute(variable, [str(self._known(each)) for each in inputs])
            waiting.pop()
        return str(self._known(output))

    def _known(self, variable: Any) -> str | None:
        return literal(variable) or self._names.get(variable)

    def _computed(self, variable: Any) -> bool:
        if variable in self.stops or not is_elementwise(variable.owner):
            return False
        if is_scalar(variable):
            return not self.reads_scalars
        return variable.broadcastable == self.pattern and all(
            fits(self.pattern, each) for each in variable.owner.inputs
        )

    def _compute(self, variable: Any, reads: list[str]) -> None:
        name = self._names[variable] = f"v{len(self.statements)}"
        text = statement(variable.owner, reads, name)
        assert text is not None
        self.statements.append(Statement(name, variable.dtype, text, tuple(reads)))

    def _read(self, variable: Any) -> None:
        kind = STREAM
        if is_scalar(variable):
            kind = SCALAR
        elif variable.broadcastable != self.pattern:
            kind, split = split_of(self.pattern, variable.broadcastable) or ("", 0)
            self._splits(split)
        self._names[variable] = f"x{len(self.leaves)}"
        self.variables.append(variable)
        self.leaves.append(Leaf(kind, variable.dtype))

    def _splits(self, split: int) -> None:
        if not split or self.split not in (0, split):
            raise Unfit
        self.split = split


def fits(pattern: Pattern, given: Any) -> bool:
    """Tell whether a tensor can be read beside those of a pattern."""
    return (
        is_scalar(given)
        or given.broadcastable == pattern
        or split_of(pattern, given.broadcastable) is not None
    )
