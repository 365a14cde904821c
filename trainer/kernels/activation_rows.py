"""The C of activations and random masks: each element read once and written once."""

from __future__ import annotations

import struct

from trainer.kernels.random_words import PHILOX, threshold

DROP, FORWARD, BACKWARD = range(3)
# The activations, each with the C that has its value and its slope.
_TYPES = {
    "linear": "Linear",
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "elu": "Elu",
}
FUNCTIONS = tuple(_TYPES)


def numbers(operation: int, function: str, rate: float, overwrites: bool) -> list[int]:
    """Give the numbers of a plan."""
    (scale,) = struct.unpack("<q", struct.pack("<d", 1 / (1 - rate)))
    limit = threshold(rate) if rate else 0
    return [operation, FUNCTIONS.index(function), int(rate > 0), limit, scale, int(overwrites)]


def rows_of(function: str) -> str:
    """Give the C of all operations for one activation: that of all six takes the compiler three seconds."""
    case = f"case {FUNCTIONS.index(function)}: with_operation<T, {_TYPES[function]}>(operation, plan);"
    return ROWS.replace("CASE_OF_THE_FUNCTION", case)


# Each activation, and its slope by its value.
VALUES = """
namespace {

inline double exp_minus_1(double x) { return expm1(x); }

// exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1) with x = n log 2 + r, in steps that a compiler does many at once.
inline float exp_minus_1(float x) {
    x = x > 88.0f ? 88.0f : x < -88.0f ? -88.0f : x;
    const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    const float tail = 0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f
        + r * (8.33333333e-3f + r * (1.38888889e-3f + r * 1.98412698e-4f))));
    const npy_int32 bits = ((npy_int32)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power * (r + r * r * tail) + (power - 1.0f);
}

// A function, and its slope by its value.
struct Linear {
    template <typename T> static T value(T x) { return x; }
    template <typename T> static T slope(T) { return T(1); }
};
struct Relu {
    template <typename T> static T value(T x) { return x * (x > 0 ? T(1) : T(0)); }
    template <typename T> static T slope(T y) { return y > 0 ? T(1) : T(0); }
};
struct LeakyRelu {
    template <typename T> static T value(T x) { return x * (x > 0 ? T(1) : T(0.01)); }
    template <typename T> static T slope(T y) { return y > 0 ? T(1) : T(0.01); }
};
struct Tanh {
    template <typename T> static T value(T x) {
        const T grown = exp_minus_1(T(2) * (x < 0 ? -x : x)), size = T(1) - T(2) / (grown + T(2));
        const T small = grown < T(1) ? grown / (grown + T(2)) : size;
        return x < 0 ? -small : x > 0 ? small : x;
    }
    template <typename T> static T slope(T y) { return T(1) - y * y; }
};
struct Sigmoid {
    template <typename T> static T value(T x) { return T(1) / (T(2) + exp_minus_1(-x)); }
    template <typename T> static T slope(T y) { return y * (T(1) - y); }
};
struct Elu {
    template <typename T> static T value(T x) {
        const T below = exp_minus_1(x > 0 ? T(0) : x);
        return x > 0 ? x : below;
    }
    template <typename T> static T slope(T y) { return y > 0 ? T(1) : y + T(1); }
};

}  // namespace
"""

ROWS = (
    PHILOX
    + VALUES
    + """
namespace {

// A division of the work by its size alone: what comes out must not depend on the number of threads.
const npy_intp PIECE = 32 * BUFFER, MOST_ROWS = 64;

struct Plan {
    bool drops;
    npy_uint32 limit;
    double scale;
    Stream stream;
    npy_intp rows, units;
    const void *first, *second;
    void *out, *sums;
};

inline npy_intp least(npy_intp a, npy_intp b) { return a < b ? a : b; }

// Whether threads share the work decides nothing but the time: the pieces are the same.
template <class Body>
void share_out(npy_intp bytes, npy_intp count, const Body& body) {
    if (trainer::worth(bytes, WORTH_SHARING)) trainer::parallel_for((uint32_t)count, body);
    else for (npy_intp k = 0; k < count; ++k) body((uint32_t)k);
}

template <typename T, class F, bool BIAS, bool DROPS>
void forward_piece(const Plan& plan, npy_intp start, npy_intp end) {
    const T* const x = (const T*)plan.first;
    const T* const bias = (const T*)plan.second;
    T* const out = (T*)plan.out;
    const T scale = (T)plan.scale;
    const npy_uint32 limit = plan.limit;
    npy_uint32 words[BUFFER];
    for (npy_intp at = start; at < end;) {
        const npy_intp stop = least(at + BUFFER, end), begin = at;
        if (DROPS) draw_words(words, plan.stream, at, stop - at);
        while (at < stop) {
            const npy_intp column = BIAS ? at % plan.units : 0;
            const npy_intp count = BIAS ? least(plan.units - column, stop - at) : stop - at;
            const T* const added = bias + column;
            const npy_uint32* const word = words + (at - begin);
            const T* const from = x + at;
            T* const to = out + at;
            // What is written to is what is read, element by element, or lies elsewhere.
            #pragma GCC ivdep
            for (npy_intp k = 0; k < count; ++k) {
                T value = F::value(BIAS ? from[k] + added[k] : from[k]);
                if (DROPS) value *= word[k] < limit ? scale : T(0);
                to[k] = value;
            }
            at += count;
        }
    }
}

template <typename T, class F, bool BIAS>
void forward(const Plan& plan) {
    const npy_intp size = plan.rows * plan.units, count = (size + PIECE - 1) / PIECE;
    const auto piece = [&plan, size](uint32_t k) {
        const npy_intp start = k * PIECE, end = least(start + PIECE, size);
        if (plan.drops) forward_piece<T, F, BIAS, true>(plan, start, end);
        else forward_piece<T, F, BIAS, false>(plan, start, end);
    };
    // To draw a word takes as long as to read several numbers.
    share_out(size * (npy_intp)sizeof(T) * (plan.drops ? 8 : 2), count, piece);
}

inline npy_intp rows_of_a_piece(const Plan& plan) {
    const npy_intp rows = PIECE / (plan.units ? plan.units : 1);
    return rows < 1 ? 1 : least(rows, MOST_ROWS);
}

template <typename T, class F>
void backward(const Plan& plan) {
    const npy_intp each = rows_of_a_piece(plan), count = (plan.rows + each - 1) / each;
    const auto piece = [&plan, each](uint32_t k) {
        const npy_intp end = least((k + 1) * each, plan.rows), units = plan.units;
        const T scale = (T)plan.scale;
        T* const sums = (T*)plan.sums + k * units;
        for (npy_intp row = k * each; row < end; ++row) {
            const T* const y = (const T*)plan.first + row * units;
            const T* const gradient = (const T*)plan.second + row * units;
            T* const out = (T*)plan.out + row * units;
            #pragma GCC ivdep
            for (npy_intp column = 0; column < units; ++column) {
                const T value = gradient[column] * (F::slope(y[column]) * scale);
                out[column] = value;
                sums[column] += value;
            }
        }
    };
    share_out(plan.rows * plan.units * (npy_intp)sizeof(T) * 3, count, piece);
}

template <typename T>
void add_up(const Plan& plan, T* total) {
    const npy_intp each = rows_of_a_piece(plan), count = (plan.rows + each - 1) / each;
    for (npy_intp column = 0; column < plan.units; ++column) {
        double sum = 0;
        for (npy_intp k = 0; k < count; ++k) sum += ((const T*)plan.sums)[k * plan.units + column];
        total[column] = (T)sum;
    }
}

enum { DROP, FORWARD, BACKWARD };

template <typename T, class F>
void with_operation(npy_int64 operation, const Plan& plan) {
    if (operation == DROP) forward<T, Linear, false>(plan);
    else if (operation == FORWARD) forward<T, F, true>(plan);
    else backward<T, F>(plan);
}

template <typename T>
void with_function(npy_int64 operation, npy_int64 function, const Plan& plan) {
    switch (function) {
        CASE_OF_THE_FUNCTION
    }
}

// The array of a cell, without gaps; a new reference.
PyArrayObject* array_in(PyObject* cells, Py_ssize_t place) {
    PyArrayObject* const array = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(cells, place), 0);
    return (PyArrayObject*)PyArray_FROM_OF((PyObject*)array, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED);
}

int next_state(PyObject* cell, Stream stream) {
    npy_intp two = 2;
    PyArrayObject* const array = (PyArrayObject*)PyArray_EMPTY(1, &two, NPY_INT64, 0);
    if (!array) return -1;
    ((npy_uint64*)PyArray_DATA(array))[0] = stream.key;
    ((npy_uint64*)PyArray_DATA(array))[1] = stream.draw + 1;
    return PyList_SetItem(cell, 0, (PyObject*)array);
}

// Where the result goes: over an input that is allowed for, or to an array of its own.
PyArrayObject* result_of(PyObject* out, PyArrayObject* overwritten, PyArrayObject* like) {
    PyObject* const cell = PyTuple_GET_ITEM(out, 0);
    if (!overwritten || !PyArray_ISWRITEABLE(overwritten))
        return array_out(cell, PyArray_NDIM(like), PyArray_DIMS(like), PyArray_TYPE(like), false);
    Py_INCREF(overwritten);
    PyList_SetItem(cell, 0, (PyObject*)overwritten);
    return overwritten;
}

int compute(Plan& plan, const npy_int64* numbers, PyArrayObject* like, PyObject* out) {
    const npy_int64 operation = numbers[0];
    const bool single = PyArray_TYPE(like) == NPY_FLOAT;
    if (operation == BACKWARD) {
        const npy_intp each = rows_of_a_piece(plan), count = (plan.rows + each - 1) / each;
        plan.sums = calloc(count * plan.units + 1, PyArray_ITEMSIZE(like));
        if (!plan.sums) { PyErr_NoMemory(); return -1; }
    }
    if (single) with_function<npy_float>(operation, numbers[1], plan);
    else with_function<npy_double>(operation, numbers[1], plan);
    if (operation != BACKWARD) return 0;
    PyObject* const cell = PyTuple_GET_ITEM(out, 1);
    PyArrayObject* const total = array_out(cell, 1, &plan.units, PyArray_TYPE(like), false);
    if (total && single) add_up(plan, (npy_float*)PyArray_DATA(total));
    else if (total) add_up(plan, (npy_double*)PyArray_DATA(total));
    free(plan.sums);
    return total ? 0 : -1;
}

int refuse(PyArrayObject* first, PyArrayObject* second) {
    PyErr_Format(PyExc_ValueError, "activation: arrays of %zd and %zd numbers do not belong together",
        (Py_ssize_t)PyArray_SIZE(first), (Py_ssize_t)PyArray_SIZE(second));
    return -1;
}

int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    const npy_int64 operation = numbers[0];
    Plan plan = Plan();
    plan.drops = numbers[2] != 0;
    plan.limit = (npy_uint32)numbers[3];
    memcpy(&plan.scale, &numbers[4], sizeof plan.scale);
    const Py_ssize_t states = operation == DROP ? 1 : 2;
    PyArrayObject* const first = array_in(in, 0);
    PyArrayObject* const second = operation == DROP ? first : array_in(in, 1);
    PyArrayObject* const state = plan.drops && operation != BACKWARD ? array_in(in, states) : NULL;
    PyArrayObject* const target = operation == BACKWARD ? second : first;
    int failed = !first || !second || PyErr_Occurred() ? -1 : 0;
    if (!failed) {
        plan.units = operation == DROP ? PyArray_SIZE(first) : PyArray_DIMS(first)[1];
        plan.rows = operation == DROP ? 1 : PyArray_DIMS(first)[0];
        const npy_intp wanted = operation == FORWARD ? plan.units : PyArray_SIZE(first);
        if (PyArray_SIZE(second) != wanted) failed = refuse(first, second);
    }
    if (!failed && state) {
        plan.stream.key = ((const npy_uint64*)PyArray_DATA(state))[0];
        plan.stream.draw = ((const npy_uint64*)PyArray_DATA(state))[1];
        failed = next_state(PyTuple_GET_ITEM(out, 1), plan.stream);
    }
    PyArrayObject* const result = failed ? NULL : result_of(out, numbers[5] ? target : NULL, target);
    if (result) {
        plan.first = PyArray_DATA(first);
        plan.second = PyArray_DATA(second);
        plan.out = PyArray_DATA(result);
        failed = compute(plan, numbers, target, out);
    }
    if (second != first) Py_XDECREF(second);
    Py_XDECREF(first);
    Py_XDECREF(state);
    return result ? failed : -1;
}

}  // namespace
"""
)
