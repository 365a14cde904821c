"""The kernels of bias, activation and dropout for devices."""

from __future__ import annotations

from functools import cache

from trainer.kernels.device.functions import function_and_slope
from trainer.kernels.device.launching import Argument, DeviceKernel, counts, divided, divisor
from trainer.kernels.random_words import GROUP, LANES, ROUND

# A thread enciphers a block, whose four words are those of four elements; see `random_words`.
_DROPPED = """    const ga_uint lane = LID_0, group = GID_0 * LDIM_1 + LID_1;
    npy_uint32 c0 = group * {lanes} + lane, c1 = 0;
    npy_uint32 c2 = (npy_uint32)state[1], c3 = (npy_uint32)((npy_uint64)state[1] >> 32);
    npy_uint32 k0 = (npy_uint32)state[0], k1 = (npy_uint32)((npy_uint64)state[0] >> 32);
    npy_uint64 p0, p1;
    if (group == 0 && lane < 2) following[lane] = state[lane] + lane;
{rounds}
"""

_BACKWARD = """    EACH(t, threads) {{
        {begin}
        REAL sum = 0;
        for (ga_uint k = {first}; k < {last}; k += {step}) {{
            const REAL found = d_y[k] * (slope(y[k]) * scale);
            d_x[k] = found;
            sum += found;
        }}
        parts[{part}] = sum;
    }}
"""
_DOWN_COLUMNS = {
    "begin": "const ga_uint column = t % units, row = t / units * each;",
    "first": "row * units + column",
    "last": "(row + each < examples ? row + each : examples) * units",
    "step": "units",
    "part": "t",
}
_ALONG_MAPS = {
    "begin": f"const ga_uint lane = t % {LANES}, map = t / {LANES};",
    "first": "map * inner + lane",
    "last": "(map + 1) * inner",
    "step": f"{LANES}",
    "part": f"(map / units * {LANES} + lane) * units + map % units",
}


@cache
def forward_kernel(function: str, dtype: str, axes: int, drops: bool) -> DeviceKernel:
    """Give the kernel that adds a bias, activates and drops.

    Parameters
    ----------
    function : str
        The activation.
    dtype : str
        Of the values.
    axes : int
        How many the values have, units being the second; 0 where there is no bias.
    drops : bool
        Whether elements are dropped.

    Returns
    -------
    DeviceKernel
        Its numbers: of elements, `quotient` of the units and, where there are more axes than two, of the
        elements of a unit; with dropout the threshold and the scale. Its arrays: the result and the stream's
        following state, the values, the bias, the state. With dropout it is for work groups of `LANES` by
        any number of threads, a row of them for `GROUP` elements; else for one thread an element.
    """
    divisors = ["units", "inner"][: max(axes - 1, 0)] if axes else []
    numbers = counts("n", *(name for each in divisors for name in divisor(each)))
    arrays = ["y", *["following"] * drops, "x", *["bias"] * bool(axes), *["state"] * drops]
    if drops:
        numbers += (*counts("limit"), Argument("scale", dtype, is_array=False))
        body = _DROPPED.format(lanes=LANES, rounds=ROUND * 10)
        for word in range(4):
            kept = f"(c{word} < limit ? scale : (REAL)0)"
            element = _element(f"group * {GROUP} + {word * LANES} + lane", axes, kept)
            body += f"    {{ {element} }}\n"
    else:
        body = f"    EACH(k, n) {{ {_value(axes)} y[k] = value; }}\n"
    given = (Argument(each, "int64" if each in ("following", "state") else dtype) for each in arrays)
    return DeviceKernel("activated", (*numbers, *given), body, function_and_slope(function, dtype))


@cache
def backward_kernel(function: str, dtype: str, axes: int) -> DeviceKernel:
    """Give the kernel of ∂x from y and its gradient, which adds up ∂x in parts as well.

    A thread goes down a column of some rows, so that neighbours read neighbours; where there are more axes
    than two, it takes each of `LANES` elements of a map.

    Parameters
    ----------
    function, dtype, axes
        As for `forward_kernel`.

    Returns
    -------
    DeviceKernel
        Its numbers: of threads, of units, of elements of a unit in one example, of examples, of examples for
        a thread, and the scale. Its arrays: ∂x, the parts, (any number, units), y, and its gradient.
    """
    numbers = (
        *counts("threads", "units", "inner", "examples", "each"),
        Argument("scale", dtype, is_array=False),
    )
    arrays = (Argument(each, dtype) for each in ("d_x", "parts", "y", "d_y"))
    return DeviceKernel(
        "activated_gradient",
        (*numbers, *arrays),
        _BACKWARD.format(**(_DOWN_COLUMNS if axes == 2 else _ALONG_MAPS)),
        function_and_slope(function, dtype),
    )


@cache
def sum_of_rows(dtype: str) -> DeviceKernel:
    """Give the kernel that adds up each so many rows of a matrix.

    Its numbers: of threads, of the matrix's columns and rows, of rows to add up. Its arrays: the sums, the
    matrix.
    """
    return DeviceKernel(
        "sum_of_rows",
        (*counts("threads", "columns", "rows", "each"), Argument("sums", dtype), Argument("x", dtype)),
        """    EACH(t, threads) {
        const ga_uint column = t % columns, first = t / columns * each;
        const ga_uint last = first + each < rows ? first + each : rows;
        REAL sum = 0;
        for (ga_uint row = first; row < last; ++row) sum += x[row * columns + column];
        sums[t] = sum;
    }
""",
        f"#define REAL npy_{dtype}\n",
    )


def _element(place: str, axes: int, factor: str) -> str:
    return f"const ga_uint k = {place}; if (k < n) {{ {_value(axes)} y[k] = value * {factor}; }}"


def _value(axes: int) -> str:
    """Compute the activated value at k."""
    if not axes:
        return "const REAL value = x[k];"
    row = divided("k", "inner") if axes > 2 else "k"
    example = divided("row", "units")
    return f"const ga_uint row = {row}; const REAL value = phi(x[k] + bias[row - {example} * units]);"
