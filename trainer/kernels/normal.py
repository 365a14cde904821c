"""Normal noise on tensors, from random numbers by counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor
from theano.gof import Apply

from trainer.kernels.plans import Planned
from trainer.kernels.random_symbolic import places_of, words_at
from trainer.kernels.random_words import GROUP, LANES, PHILOX, words

# Two words make two normal numbers (Box and Muller); of places that differ in this bit alone.
_PAIR = LANES


class NormalNoise(Planned):
    """Add normal noise to a tensor: (x, deviation, state) → x + deviation · z, and the following state.

    The noise is a function of the stream's key, of how many draws were made before, and of the place of an
    element: neither threads nor devices change it, but for rounding.

    Notes
    -----
    Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011), and the transform of Box & Muller 1958, "A note on the
    generation of random normal deviates"; in single precision, at most 6.7 deviations from the mean.
    """

    __props__ = ()

    def make_node(self, x: Any, deviation: Any, state: Any) -> Apply:
        """From a tensor of float32 or float64, a float64 scalar, and the stream's state."""
        return Apply(self, [x, deviation, state], [x.type(), tensor.lvector()])

    def infer_shape(self, node: Any, shapes: Sequence[Any]) -> list[Any]:
        """Give the shapes of x and of the state."""
        return [shapes[0], shapes[2]]

    def kernel(self) -> str:
        """Give the C."""
        return NOISE

    def perform(self, node: Any, inputs: Sequence[Any], outputs: Sequence[list[Any]]) -> None:
        """Do in NumPy what the kernel does."""
        x, deviation, state = inputs
        z = normal(state, x.size).reshape(x.shape)
        outputs[0][0] = np.asarray(x + x.dtype.type(deviation) * z, x.dtype)
        outputs[1][0] = state + np.array([0, 1])


def normal(state: Sequence[int] | NDArray[Any], count: int) -> NDArray[np.float32]:
    """Give the first normal numbers of a draw: with mean 0 and variance 1, in single precision."""
    drawn = words(state, -(-count // GROUP) * GROUP).reshape(-1, 2, LANES)
    uniform = (drawn[:, 0].astype(np.float32) + np.float32(1)) * np.float32(2.0**-32)
    radius = np.sqrt(-2 * np.log(uniform.astype(np.float64)))
    angle = drawn[:, 1].astype(np.int32) * (2 * np.pi * 2.0**-32)
    found = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    numbers: NDArray[np.float32] = found.ravel()[:count].astype(np.float32)
    return numbers


def noisy(x: Any, deviation: Any, state: Any) -> tuple[Any, Any]:
    """Add normal noise that is new at each call of the compiled function.

    Parameters
    ----------
    x : symbolic tensor of float32 or float64
        Of any shape.
    deviation : symbolic scalar
        The standard deviation of the noise.
    state : symbolic vector of two int64
        A key, and how many draws were made before.

    Returns
    -------
    tuple of two symbolic expressions
        ``x + deviation * z``, and the state's next value.
    """
    deviation = tensor.cast(deviation, "float64")
    if str(theano.config.device) == "cpu":
        outputs: tuple[Any, Any] = tuple(NormalNoise()(x, deviation, state))
        return outputs
    return symbolic(x, deviation, state)


def symbolic(x: Any, deviation: Any, state: Any) -> tuple[Any, Any]:
    """Do the same as `noisy` by Theano's elementwise operations, for devices other than the CPU."""
    places = places_of(x)
    first = tensor.eq(tensor.bitwise_and(places, np.int64(_PAIR)), 0)
    low = tensor.bitwise_and(places, np.int64(~_PAIR))
    first_word, second_word = words_at(state, low), words_at(state, low + np.int64(_PAIR))
    radius = tensor.sqrt(-2 * tensor.log((tensor.cast(first_word, "float32") + 1) * np.float32(2.0**-32)))
    angle = tensor.cast(second_word, "float32") * np.float32(2 * np.pi * 2.0**-32)
    z = radius * tensor.switch(first, tensor.cos(angle), tensor.sin(angle))
    return tensor.cast(x + tensor.cast(deviation, x.dtype) * z, x.dtype), state + np.array([0, 1])


NOISE = (
    PHILOX
    + f"""
namespace {{

const npy_intp NOISE_PIECE = 16 * BUFFER;

float as_float(npy_uint32 bits) {{ float value; memcpy(&value, &bits, sizeof value); return value; }}

// The words of a group become normal numbers, by steps that a compiler does many at once.
void normal_group(const npy_uint32* words, float* z) {{
    for (int lane = 0; lane < LANES; ++lane) {{
        // log u = e log 2 + log m, m within a factor of the root of 2 from 1.
        const float u = ((float)words[lane] + 1.0f) * 2.3283064365386963e-10f;
        npy_uint32 bits;
        memcpy(&bits, &u, sizeof bits);
        const npy_uint32 shifted = bits - 0x3f3504f3u;
        const float e = (float)((npy_int32)shifted >> 23);
        const float m = as_float((shifted & 0x007fffffu) + 0x3f3504f3u);
        const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
        const float log_m = s * (2.0f + t * (6.6666667e-1f + t * (4.0e-1f + t * (2.8571429e-1f
            + t * 2.2222222e-1f))));
        const float square = -2.0f * (e * 6.9314718e-1f + log_m);
        // Its root by Newton's steps: the C library's would set errno, which is no loop for vectors.
        const float size = square > 0.0f ? square : 0.0f;
        npy_uint32 guess;
        memcpy(&guess, &size, sizeof guess);
        float y = as_float(0x5f3759dfu - (guess >> 1));
        y *= 1.5f - 0.5f * size * y * y;
        y *= 1.5f - 0.5f * size * y * y;
        y *= 1.5f - 0.5f * size * y * y;
        const float radius = size * y;
        // The angle is a quadrant and what is left, at most an eighth of a turn.
        const npy_uint32 turn = words[LANES + lane], quadrant = (turn + 0x20000000u) >> 30;
        const float x = (float)(npy_int32)(turn - (quadrant << 30)) * 1.4629180792671596e-9f, q = x * x;
        const float sine = x * (1.0f + q * (-1.6666667e-1f + q * (8.3333333e-3f + q * (-1.9841270e-4f
            + q * 2.7557319e-6f))));
        const float cosine = 1.0f + q * (-0.5f + q * (4.1666667e-2f + q * (-1.3888889e-3f
            + q * 2.4801587e-5f)));
        const float across = quadrant & 1 ? sine : cosine, along = quadrant & 1 ? cosine : sine;
        z[lane] = radius * ((quadrant + 1) & 2 ? -across : across);
        z[LANES + lane] = radius * (quadrant & 2 ? -along : along);
    }}
}}

template <typename T>
void add_noise(T* out, const T* x, T deviation, Stream stream, npy_intp first, npy_intp count) {{
    npy_uint32 words[BUFFER];
    float z[BUFFER];
    for (npy_intp at = 0; at < count; at += BUFFER) {{
        const npy_intp now = count - at < BUFFER ? count - at : (npy_intp)BUFFER;
        draw_words(words, stream, first + at, now);
        for (npy_intp k = 0; k < now; k += {2 * LANES}) normal_group(words + k, z + k);
        for (npy_intp k = 0; k < now; ++k) out[at + k] = x[at + k] + deviation * (T)z[k];
    }}
}}

int run_plan(PyObject* in, PyObject* out, const npy_int64*) {{
    PyArrayObject* const x = (PyArrayObject*)PyArray_FROM_OF(
        PyList_GET_ITEM(PyTuple_GET_ITEM(in, 0), 0), NPY_ARRAY_CARRAY_RO);
    PyArrayObject* const deviation = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, 1), 0);
    PyArrayObject* const state = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, 2), 0);
    if (!x) return -1;
    const int type = PyArray_TYPE(x);
    npy_intp two = 2;
    PyObject *const results = PyTuple_GET_ITEM(out, 0), *const states = PyTuple_GET_ITEM(out, 1);
    PyArrayObject* const z = array_out(results, PyArray_NDIM(x), PyArray_DIMS(x), type, false);
    PyArrayObject* const next = z ? array_out(states, 1, &two, NPY_INT64, false) : NULL;
    if (!next) {{ Py_DECREF(x); return -1; }}
    const npy_int64 key = *(npy_int64*)PyArray_GETPTR1(state, 0);
    const npy_int64 draw = *(npy_int64*)PyArray_GETPTR1(state, 1);
    const Stream stream = {{(npy_uint64)key, (npy_uint64)draw}};
    const double by = *(double*)PyArray_DATA(deviation);
    const npy_intp size = PyArray_SIZE(x);
    char *const to = PyArray_BYTES(z), *const from = PyArray_BYTES(x);
    const auto body = [=](uint32_t piece) {{
        const npy_intp first = piece * NOISE_PIECE;
        const npy_intp count = size - first < NOISE_PIECE ? size - first : NOISE_PIECE;
        if (type == NPY_FLOAT)
            add_noise((float*)to + first, (const float*)from + first, (float)by, stream, first, count);
        else
            add_noise((double*)to + first, (const double*)from + first, by, stream, first, count);
    }};
    const uint32_t pieces = (uint32_t)((size + NOISE_PIECE - 1) / NOISE_PIECE);
    if (trainer::worth(size * 16, WORTH_SHARING)) trainer::parallel_for(pieces, body);
    else for (uint32_t piece = 0; piece < pieces; ++piece) body(piece);
    npy_int64* const following = (npy_int64*)PyArray_DATA(next);
    following[0] = key;
    following[1] = draw + 1;
    Py_DECREF(x);
    return 0;
}}

}}  // namespace
"""
)
