"""Random words by Theano's elementwise operations: of them the gradients' noise on devices is made.

Each element enciphers its own block and takes one word of it: four times the work of the CPU's kernel, which
such a device has to spare, and the same bits, so that a run may go from one device to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from theano import scalar, tensor
from theano.gof import Apply
from theano.tensor.elemwise import Elemwise

from trainer.kernels.random_words import GROUP, LANES, ROUND, philox

_BITS = 0xFFFFFFFF


class Word(scalar.ScalarOp):  # type: ignore[misc]
    """The random word at a place: (key, number of draws, place) → 0 … 2³² − 1."""

    nin = 3

    def make_node(self, *inputs: Any) -> Apply:
        """From three int64 to a number of type int64, which holds the word without a sign."""
        return Apply(self, list(inputs), [scalar.int64()])

    def impl(self, key: Any, draw: Any, place: Any) -> Any:
        """Compute it in Python."""
        key, draw, place = int(key), int(draw), int(place)
        block = place // GROUP * LANES + place % LANES
        counter = (block & _BITS, block >> 32, draw & _BITS, draw >> 32 & _BITS)
        return np.int64(philox(counter, (key & _BITS, key >> 32 & _BITS))[place % GROUP // LANES])

    def c_code(self, node: Any, name: str, inputs: Sequence[str], outputs: Sequence[str], sub: Any) -> str:
        """Compute it in C, or on a device, for which Theano takes a per cent sign for a format of its own."""
        (key, draw, place), (word,) = inputs, outputs
        return f"""
        {{
        const npy_uint64 place = (npy_uint64){place}, draw = (npy_uint64){draw}, key = (npy_uint64){key};
        const npy_uint64 block = place / {GROUP} * {LANES} + (place & {LANES - 1});
        npy_uint32 c0 = (npy_uint32)block, c1 = (npy_uint32)(block >> 32);
        npy_uint32 c2 = (npy_uint32)draw, c3 = (npy_uint32)(draw >> 32);
        npy_uint32 k0 = (npy_uint32)key, k1 = (npy_uint32)(key >> 32);
        npy_uint64 p0, p1;
        for (int turn = 0; turn < 10; ++turn) {{ {ROUND} }}
        const npy_uint32 which = (npy_uint32)((place & {GROUP - 1}) / {LANES});
        {word} = which == 0 ? c0 : which == 1 ? c1 : which == 2 ? c2 : c3;
        }}
        """

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Give the version of the C."""
        return (2,)

    def grad(self, inputs: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
        """Give zeros: words are no smooth function of anything."""
        return [each.zeros_like().astype("float64") for each in inputs]


_words = Elemwise(Word(name="philox_word"))


def places_of(x: Any) -> Any:
    """Give the place of each element of a tensor among all, as int64.

    A device gets the places along each axis, which Theano counts on the CPU, and adds them up.
    """
    places: Any = np.int64(0)
    step: Any = np.int64(1)
    for axis in reversed(range(x.ndim)):
        along = tensor.arange(x.shape[axis]) * step
        places = places + along.dimshuffle(*(0 if each == axis else "x" for each in range(x.ndim)))
        step = step * x.shape[axis]
    return tensor.as_tensor_variable(places)


def words_at(state: Any, places: Any) -> Any:
    """Give the random word at each of some places, an int64 tensor, of a draw."""
    dimensions = ("x",) * places.ndim
    return _words(state[0].dimshuffle(*dimensions), state[1].dimshuffle(*dimensions), places)
