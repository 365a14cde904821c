"""The C of a fused kernel, written from a trace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer.kernels.fused.driver import DRIVER
from trainer.kernels.fused.trace import COLUMN, ROW, SCALAR, STREAM, TOTAL, Leaf, Result, Trace

# When a value is known: once in a step, once for each parameter, once for each row, for each element.
_COMMON, _OWN, _OF_ROW, _OF_ELEMENT = range(4)


@dataclass(frozen=True)
class Program:
    """The C of a fused kernel.

    Attributes
    ----------
    commons, leaves : tuple of Leaf
        The scalars that are read once, and what is read of each parameter.
    common_results, results : tuple of Result
        Scalars, once; tensors and totals of each parameter.
    text : str
        The C, which all of this follows from.
    """

    commons: tuple[Leaf, ...]
    leaves: tuple[Leaf, ...]
    common_results: tuple[Result, ...]
    results: tuple[Result, ...]
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """A name of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]


def write(trace: Trace, common: Sequence[int], scalars: int) -> Program:
    """Write the program of a trace.

    Parameters
    ----------
    trace : Trace
        Of one parameter and what belongs to it; the last `scalars` results belong to all parameters.
    common : sequence of int
        The places of those leaves that are the same scalar for all parameters.
    scalars : int
        How many of the results are common.
    """
    own = [place for place in range(len(trace.leaves)) if place not in common]
    results = trace.results[: len(trace.results) - scalars]
    common_results = trace.results[len(trace.results) - scalars :]
    writer = _Writer(trace, common, own, results, common_results)
    return Program(
        tuple(trace.leaves[place] for place in common),
        tuple(trace.leaves[place] for place in own),
        tuple(common_results),
        tuple(results),
        writer.text(),
    )


class _Writer:
    def __init__(
        self,
        trace: Trace,
        common: Sequence[int],
        own: Sequence[int],
        results: Sequence[Result],
        common_results: Sequence[Result],
    ) -> None:
        self.trace, self.common, self.own = trace, common, own
        self.results, self.common_results = results, common_results
        self.types = {f"x{place}": f"npy_{leaf.dtype}" for place, leaf in enumerate(trace.leaves)}
        self.types.update({each.name: f"npy_{each.dtype}" for each in trace.statements})
        ranks = {SCALAR: _OWN, COLUMN: _OF_ROW, ROW: _OF_ELEMENT, STREAM: _OF_ELEMENT}
        self.rank = {f"x{place}": ranks[leaf.kind] for place, leaf in enumerate(trace.leaves)}
        self.rank.update({f"x{place}": _COMMON for place in common})
        for each in trace.statements:
            self.rank[each.name] = max((self.rank.get(name, _COMMON) for name in each.reads), default=_COMMON)

    def text(self) -> str:
        return "\n".join(
            [
                self._constants(),
                self._struct("Common", _COMMON),
                self._struct("Own", _OWN),
                self._common_scalars(),
                self._own_scalars(),
                self._kernel(),
                DRIVER,
            ]
        )

    def _names(self, rank: int) -> list[str]:
        return [name for name, known in self.rank.items() if known == rank]

    def _statements(self, rank: int) -> list[str]:
        return [
            f"{self.types[each.name]} {each.name}; {each.text}"
            for each in self.trace.statements
            if self.rank[each.name] == rank
        ]

    def _struct(self, name: str, rank: int) -> str:
        fields = " ".join(f"{self.types[each]} {each};" for each in self._names(rank))
        return f"struct {name} {{ {fields} }};"

    def _taken(self, rank: int, source: str) -> list[str]:
        return [f"const {self.types[name]} {name} = {source}.{name};" for name in self._names(rank)]

    def _common_scalars(self) -> str:
        reads = [
            f"const {self.types[f'x{place}']} x{place} = *(const {self.types[f'x{place}']}*)in[{at}];"
            for at, place in enumerate(self.common)
        ]
        keeps = [f"common.{name} = {name};" for name in self._names(_COMMON)]
        puts = [
            f"*(npy_{result.dtype}*)out[{at}] = {self._value(result, 'common.')};"
            for at, result in enumerate(self.common_results)
        ]
        return _function(
            "void common_scalars(char* const* in, Common& common)",
            [*reads, *self._statements(_COMMON), *keeps],
        ) + _function("void put_common(const Common& common, char* const* out)", puts)

    def _value(self, result: Result, source: str) -> str:
        return source + result.name if result.name in self.rank else result.name

    def _own_scalars(self) -> str:
        reads = [
            f"const {self.types[f'x{place}']} x{place} = *(const {self.types[f'x{place}']}*)in[{at}];"
            for at, place in enumerate(self.own)
            if self.trace.leaves[place].kind == SCALAR
        ]
        keeps = [f"own.{name} = {name};" for name in self._names(_OWN)]
        head = "void own_scalars(const Common& common, char* const* in, Own& own)"
        taken = self._taken(_COMMON, "common")
        return _function(head, [*taken, *reads, *self._statements(_OWN), *keeps])

    def _kernel(self) -> str:
        known = [*self._taken(_COMMON, "common"), *self._taken(_OWN, "own")]
        pointers, loads = [], []
        for at, place in enumerate(self.own):
            leaf, name, kind = self.trace.leaves[place], f"x{place}", self.types[f"x{place}"]
            if leaf.kind == COLUMN:
                known.append(f"const {kind} {name} = ((const {kind}*)in[{at}])[row];")
            elif leaf.kind != SCALAR:
                start = "base" if leaf.kind == STREAM else "at"
                pointers.append(f"const {kind}* const in_{name} = (const {kind}*)in[{at}] + {start};")
                loads.append(f"const {kind} {name} = in_{name}[i];")
        stores, sums, totals, rows = [], [], 0, 0
        for at, result in enumerate(self.results):
            kind, square = f"npy_{result.dtype}", f"(double){result.name} * (double){result.name}"
            if result.kind == STREAM:
                pointers.append(f"{kind}* const out_{at} = ({kind}*)out[{at}] + base;")
                stores.append(f"out_{at}[i] = {result.name};")
            elif result.kind == ROW:
                pointers.append(f"double* const row_{at} = rows + {rows} * count;")
                stores.append(f"row_{at}[i] += {square};")
                rows += 1
            elif result.kind == COLUMN:
                sums.append((square, f"(({kind}*)out[{at}])[row] = ({kind})"))
            else:
                sums.append((f"(double){result.name}", f"sums[{totals}] += "))
                totals += 1
        body = [*loads, *self._statements(_OF_ELEMENT), *stores]
        head = (
            "static void kernel(char* const* in, char* const* out, const Common& common, const Own& own, "
            "npy_intp row, npy_intp base, npy_intp at, npy_intp count, double* sums, double* rows)"
        )
        return _function(head, [*known, *self._statements(_OF_ROW), *pointers, *_loop(body, sums)])

    def _constants(self) -> str:
        own = [self.trace.leaves[place] for place in self.own]
        along = any(result.kind in (ROW, COLUMN) for result in self.results)
        numbers = {
            "LEAVES": len(own),
            "RESULTS": len(self.results),
            "COMMONS": len(self.common),
            "COMMON_RESULTS": len(self.common_results),
            "SUMS": sum(result.kind == TOTAL for result in self.results),
            "ROWS": sum(result.kind == ROW for result in self.results),
            "ALONG": int(along),
            "PARTIAL": int(along or any(leaf.kind in (ROW, COLUMN) for leaf in own)),
            "STREAM_BYTES": sum(4 + 4 * leaf.dtype.endswith("64") for leaf in own if leaf.kind == STREAM),
        }
        kinds = {STREAM: "FULL", ROW: "ROW", COLUMN: "COLUMN", SCALAR: "SCALAR", TOTAL: "SCALAR"}
        tables = {
            "KINDS": [kinds[leaf.kind] for leaf in own],
            "TYPES": [_number(leaf.dtype) for leaf in own],
            "RESULT_KINDS": [kinds[result.kind] for result in self.results],
            "RESULT_TYPES": [_number(result.dtype) for result in self.results],
            "COMMON_TYPES": [_number(self.trace.leaves[place].dtype) for place in self.common],
            "COMMON_RESULT_TYPES": [_number(result.dtype) for result in self.common_results],
        }
        lines = [f"enum {{ {', '.join(f'{name} = {value}' for name, value in numbers.items())} }};"]
        lines.append("enum { FULL, ROW, COLUMN, SCALAR };")
        for name, row in tables.items():
            lines.append(f"static const int {name}[] = {{{', '.join([*row, '0'])}}};")
        return "\n".join(lines)


def _loop(body: Sequence[str], sums: Sequence[tuple[str, str]]) -> list[str]:
    """Write the loop over elements; with sums, so many of each beside each other as let it use vectors.

    Parameters
    ----------
    body : sequence of str
        What is done for an element.
    sums : sequence of pairs of str
        The terms of each sum, and what it is added or assigned to.
    """
    if not sums:
        return ["#pragma GCC ivdep", "for (npy_intp i = 0; i < count; ++i) {", *body, "}"]
    adds = [f"sum_{k}[i - start] += {term};" for k, (term, _) in enumerate(sums)]
    added = [
        f"{{ double all = 0; for (int lane = 0; lane < LANES; ++lane) all += sum_{k}[lane]; {target}all; }}"
        for k, (_, target) in enumerate(sums)
    ]
    return [
        "enum { LANES = 16 };",
        *(f"double sum_{k}[LANES] = {{0}};" for k in range(len(sums))),
        "npy_intp start = 0;",
        "for (; start + LANES <= count; start += LANES)",
        "#pragma GCC ivdep",
        "for (int lane = 0; lane < LANES; ++lane) {",
        *("const npy_intp i = start + lane;", *body, *adds),
        "}",
        "for (npy_intp i = start; i < count; ++i) {",
        *(*body, *adds),
        "}",
        *added,
    ]


def _function(head: str, lines: Sequence[str]) -> str:
    return "\n".join([f"{head} {{", *lines, "}", ""])


def _number(dtype: str) -> str:
    """Give NumPy's number of a type, as C."""
    return f"NPY_{dtype.upper()}"
