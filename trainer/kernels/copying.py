"""Copying many arrays in one call, beside a step that runs, and the place in the step that waits for it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.gof import Apply, Op

from trainer.runtime.linking import expect

Array = NDArray[Any]

# Stores that go past the caches need no reading of what they overwrite: of 40 MB, 2.6 ms instead of 4.5.
_COPY = """
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace {

void copy_block(char* to, const char* from, size_t bytes) {
#if defined(__SSE2__)
    if (bytes >= (1 << 18)) {
        const size_t head = -(size_t)to & 63;
        memcpy(to, from, head);
        to += head; from += head; bytes -= head;
        for (; bytes >= 64; to += 64, from += 64, bytes -= 64) {
            _mm_prefetch(from + 2048, _MM_HINT_NTA);
            const __m128i a = _mm_loadu_si128((const __m128i*)from);
            const __m128i b = _mm_loadu_si128((const __m128i*)(from + 16));
            const __m128i c = _mm_loadu_si128((const __m128i*)(from + 32));
            const __m128i d = _mm_loadu_si128((const __m128i*)(from + 48));
            _mm_stream_si128((__m128i*)to, a);
            _mm_stream_si128((__m128i*)(to + 16), b);
            _mm_stream_si128((__m128i*)(to + 32), c);
            _mm_stream_si128((__m128i*)(to + 48), d);
        }
        _mm_sfence();
    }
#endif
    memcpy(to, from, bytes);
}

}  // namespace
"""


class CopyBlocks(Op):  # type: ignore[misc]
    """Copy blocks of memory without Python's lock; see `copy_arrays`."""

    __props__ = ()

    def make_node(self, blocks: Any) -> Apply:
        """From an int64 matrix, a row (destination, source, bytes) a block, to their number."""
        return Apply(self, [tensor.as_tensor_variable(blocks)], [tensor.lscalar()])

    def perform(self, node: Any, inputs: Sequence[Array], outputs: Sequence[list[Any]]) -> None:
        """Do by the C library what `c_code` does, with the lock between two blocks."""
        for destination, source, size in inputs[0]:
            ctypes.memmove(int(destination), int(source), int(size))
        outputs[0][0] = np.asarray(len(inputs[0]))

    def c_support_code(self) -> str:
        """Give the copying of one block."""
        return _COPY

    def c_code(self, node: Any, name: str, inputs: Sequence[str], outputs: Sequence[str], sub: Any) -> str:
        """Copy all blocks with the lock released."""
        (blocks,), (count,) = inputs, outputs
        return f"""
        {{
            const npy_intp rows = PyArray_DIMS({blocks})[0];
            PyArrayObject* const table = {blocks};
            Py_BEGIN_ALLOW_THREADS
            for (npy_intp row = 0; row < rows; ++row)
                copy_block(
                    (char*)*(npy_int64*)PyArray_GETPTR2(table, row, 0),
                    (const char*)*(npy_int64*)PyArray_GETPTR2(table, row, 1),
                    (size_t)*(npy_int64*)PyArray_GETPTR2(table, row, 2));
            Py_END_ALLOW_THREADS
            Py_XDECREF({count});
            {count} = (PyArrayObject*)PyArray_EMPTY(0, NULL, NPY_INT64, 0);
            if (!{count}) {{ {sub["fail"]} }}
            *(npy_int64*)PyArray_DATA({count}) = rows;
        }}
        """

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Give the version of the C."""
        return (1,)


# It is compiled when a run has its step already: alone, where nothing is ordered ahead.
expect(lambda: [CopyBlocks()(tensor.lmatrix()).owner])


@cache
def copier() -> Callable[[Array], Any]:
    """Compile the copying, once in a process.

    It is for one thread at a time.
    """
    blocks = tensor.lmatrix("blocks")
    function = theano.function([blocks], CopyBlocks()(blocks), mode=theano.Mode("cvm", optimizer=None))
    function.trust_input = True
    return function  # type: ignore[no-any-return]


def copy_arrays(pairs: Sequence[tuple[Array, Array]]) -> None:
    """Copy arrays into others, all in one call of C that holds no lock of Python's.

    Parameters
    ----------
    pairs : sequence of (destination, source)
        Each two of the same dtype, shape and strides, without gaps. What is copied must stay, and stay as it
        is, until this returns.

    Raises
    ------
    ValueError
        Where two arrays are not laid out alike.
    """
    for destination, source in pairs:
        if not (same_layout(destination, source) and destination.flags.writeable):
            raise ValueError("an array can be copied only into one that is laid out alike")
    rows = [(to.ctypes.data, source.ctypes.data, source.nbytes) for to, source in pairs]
    copier()(np.array(rows, np.int64).reshape(-1, 3))


def same_layout(a: Array, b: Array) -> bool:
    """Tell whether two arrays are without gaps, and one's bytes are the other's, number for number."""
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and any(a.flags[order] and b.flags[order] for order in ("C_CONTIGUOUS", "F_CONTIGUOUS"))
    )


class Gate(Op):  # type: ignore[misc]
    """Pass a value on once a function has returned; see `gate`."""

    view_map = {0: [0]}  # noqa: RUF012 (Theano's form)

    def __init__(self, wait: Callable[[], object]) -> None:
        self.wait = wait

    def make_node(self, value: Any) -> Apply:
        """Give the value."""
        return Apply(self, [value], [value.type()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> Sequence[Any]:
        """Give the value's shape."""
        return shapes

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Wait, and pass it on."""
        self.wait()
        outputs[0][0] = inputs[0]


def gate(norm: Any, wait: Callable[[], object]) -> Any:
    """Let a compiled step wait before it writes: `hold(gate(norm, wait), variables)`.

    `trainer.kernels.finite.hold` lets nothing be written to the variables before the norm that it is given is
    known, and this norm is known only when `wait()` has returned, which is called at each step.

    Parameters
    ----------
    norm : symbolic variable
        What `check_finite` gave.
    wait : callable
        Called without arguments in each step, behind the gradients and before all writing.

    Returns
    -------
    symbolic variable
        The same value.
    """
    return Gate(wait)(norm)
