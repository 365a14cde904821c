"""Random numbers by counting: Philox, in C and in NumPy, to the same bits.

The number at a place of a draw is a function of the stream's key, of how many draws were made before, and of
the place alone. So who computes it, in which order, and with how many threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

State: TypeAlias = Sequence[int] | NDArray[Any]

_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

# Blocks of four words that are computed side by side. Their first words stand together, then their second
# ones, and so on, so that a register of any processor is filled by one store.
LANES = 16
GROUP = 4 * LANES

# A round of the cipher, in C for one block; also for devices, whose compilers know these types by name.
ROUND = f"""
        p0 = (npy_uint64)c0 * {_MULTIPLIERS[0]:#x}u;
        p1 = (npy_uint64)c2 * {_MULTIPLIERS[1]:#x}u;
        c0 = (npy_uint32)(p1 >> 32) ^ c1 ^ k0;
        c2 = (npy_uint32)(p0 >> 32) ^ c3 ^ k1;
        c1 = (npy_uint32)p1;
        c3 = (npy_uint32)p0;
        k0 += {_WEYL[0]:#x}u;
        k1 += {_WEYL[1]:#x}u;
"""

PHILOX = f"""
namespace {{

enum {{ LANES = {LANES}, GROUP = {GROUP}, BUFFER = 16 * GROUP }};

struct Stream {{ npy_uint64 key, draw; }};

// The words from `first` on, a multiple of GROUP; as many as are wanted, and what fills the last group.
void draw_words(npy_uint32* words, Stream stream, npy_uint64 first, npy_intp count) {{
    for (npy_intp at = 0; at < count; at += GROUP, words += GROUP) {{
        const npy_uint64 block = (first + at) / 4;
        const npy_uint32 low = (npy_uint32)block, high = (npy_uint32)(block >> 32);
        const npy_uint32 draw0 = (npy_uint32)stream.draw, draw1 = (npy_uint32)(stream.draw >> 32);
        const npy_uint32 key0 = (npy_uint32)stream.key, key1 = (npy_uint32)(stream.key >> 32);
        for (npy_uint32 lane = 0; lane < LANES; ++lane) {{
            npy_uint32 c0 = low + lane, c1 = high, c2 = draw0, c3 = draw1, k0 = key0, k1 = key1;
            npy_uint64 p0, p1;
            {ROUND * _ROUNDS}
            words[lane] = c0;
            words[LANES + lane] = c1;
            words[2 * LANES + lane] = c2;
            words[3 * LANES + lane] = c3;
        }}
    }}
}}

}}  // namespace
"""


def philox(counter: Sequence[Any], key: Sequence[Any]) -> list[NDArray[np.uint64]]:
    """Encipher counters by Philox4x32-10.

    Parameters
    ----------
    counter : four numbers or arrays below 2³²
        What is enciphered.
    key : two numbers below 2³²
        The key.

    Returns
    -------
    list of four arrays
        The words, below 2³².

    Notes
    -----
    Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    for turn in range(_ROUNDS):
        k0, k1 = (
            np.uint64((int(start) + turn * step) & 0xFFFFFFFF) for start, step in zip(key, _WEYL, strict=True)
        )
        first, second = (word * np.uint64(m) for word, m in zip((c0, c2), _MULTIPLIERS, strict=True))
        c0, c1, c2, c3 = (second >> _HALF) ^ c1 ^ k0, second & _LOW, (first >> _HALF) ^ c3 ^ k1, first & _LOW
    return [c0, c1, c2, c3]


def words(state: State, count: int) -> NDArray[np.uint32]:
    """Give the first words of a draw.

    Parameters
    ----------
    state : pair of int, or array of two
        The key of the stream, and how many draws were made before; 64 bits each.
    count : int
        How many.
    """
    key, draw = (int(number) & 0xFFFFFFFFFFFFFFFF for number in state)
    block = np.arange(-(-count // GROUP) * LANES, dtype=np.uint64)
    counter = (block & _LOW, block >> _HALF, draw & 0xFFFFFFFF, draw >> 32)
    drawn = np.stack([each.reshape(-1, LANES) for each in philox(counter, (key & 0xFFFFFFFF, key >> 32))], 1)
    found: NDArray[np.uint32] = drawn.astype(np.uint32).ravel()[:count]
    return found


def threshold(rate: float) -> int:
    """Give the number below which a word keeps its element, so that it is dropped with probability `rate`."""
    return min(round((1 - rate) * 2**32), 2**32 - 1)


def mask(state: State, rate: float, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """Give a mask: 0 with probability `rate`, else 1 / (1 − rate)."""
    kept = words(state, int(np.prod(shape))) < np.uint32(threshold(rate))
    scaled: NDArray[Any] = kept.reshape(tuple(shape)).astype(dtype) * np.asarray(1 / (1 - rate), dtype)
    return scaled
