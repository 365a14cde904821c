"""The C module of recurrent networks: what it is given by its plan, and that handed to the passes."""

from __future__ import annotations

from trainer.kernels.convolution_tiles import TILES
from trainer.kernels.recurrent_functions import text_for as functions_for
from trainer.kernels.recurrent_passes import PASSES

_RUN = """
namespace {

// The inputs one after another, each in one piece of memory.
struct Inputs {
    PyObject* cells;
    Py_ssize_t next;
    int held;
    PyArrayObject* array[16];
    bool failed;
    explicit Inputs(PyObject* in) : cells(in), next(0), held(0), failed(false) {}
    ~Inputs() { while (held) { --held; Py_DECREF(array[held]); } }
    PyArrayObject* take(int axes, npy_intp a, npy_intp b, npy_intp c, const char* what) {
        if (failed) return NULL;
        PyObject* const cell = PyTuple_GET_ITEM(cells, next);
        PyArrayObject* const given = (PyArrayObject*)PyList_GET_ITEM(cell, 0);
        ++next;
        PyArrayObject* const one = PyArray_GETCONTIGUOUS(given);
        if (!one) { failed = true; return NULL; }
        array[held++] = one;
        const npy_intp wanted[] = {a, b, c};
        for (int axis = 0; axis < axes; ++axis)
            if (wanted[axis] >= 0 && PyArray_DIM(one, axis) != wanted[axis]) {
                PyErr_Format(PyExc_ValueError, "recurrence: %s of %zd instead of %zd along axis %d", what,
                             (Py_ssize_t)PyArray_DIM(one, axis), (Py_ssize_t)wanted[axis], axis);
                failed = true;
                return NULL;
            }
        return one;
    }
    Real* data(PyArrayObject* one) const { return one ? (Real*)PyArray_DATA(one) : NULL; }
};

Real* made(PyObject* out, Py_ssize_t place, int axes, npy_intp a, npy_intp b, npy_intp c) {
    npy_intp shape[] = {a, b, c};
    PyArrayObject* const array = array_out(PyTuple_GET_ITEM(out, place), axes, shape, TYPE, false);
    return array ? (Real*)PyArray_DATA(array) : NULL;
}

// The result is what an input was, written over, where that lies in one piece.
Real* over(PyObject* in, PyObject* out, Py_ssize_t place, const Real* lies) {
    PyArrayObject* const array = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, place), 0);
    if ((const Real*)PyArray_DATA(array) != lies || !PyArray_ISWRITEABLE(array)) return NULL;
    pass(PyTuple_GET_ITEM(in, place), PyTuple_GET_ITEM(out, 0));
    return (Real*)PyArray_DATA(array);
}

// The plan's numbers; behind ARRIVES one for each state.
enum {
    BACKWARD, CELL, FUNCTION, GATES, STATES, SAVES, BIASES, LAST_FIRST, TOKENS, MASKED, OVERWRITES, ARRIVES
};

// Tokens, mask and initial states, which both passes are given.
void take_rest(Sequence& s, Inputs& inputs, const npy_int64* numbers) {
    if (numbers[TOKENS]) {
        PyArrayObject* const tokens = inputs.take(2, -1, -1, -1, "tokens");
        if (!tokens) return;
        s.tokens = (const npy_int64*)PyArray_DATA(tokens);
        s.steps = PyArray_DIM(tokens, 0);
        s.examples = PyArray_DIM(tokens, 1);
    }
    if (numbers[MASKED]) s.mask = inputs.data(inputs.take(2, s.steps, s.examples, -1, "mask"));
    for (int state = 0; state < s.states && !inputs.failed; ++state) {
        PyArrayObject* const found = inputs.take(2, -1, s.units, -1, "states");
        if (found && PyArray_DIM(found, 0) != s.examples) {
            PyErr_Format(
                PyExc_ValueError,
                "the carried states are of %zd examples, but the batch has %zd: call "
                "Network.reset_states(batch_size, training) before the first batch",
                (Py_ssize_t)PyArray_DIM(found, 0), (Py_ssize_t)s.examples);
            inputs.failed = true;
        }
        s.initial[state] = inputs.data(found);
    }
}

int run_forward(Sequence& s, PyObject* in, PyObject* out, const npy_int64* numbers) {
    Inputs inputs(in);
    PyArrayObject* const given = inputs.take(numbers[TOKENS] ? 2 : 3, -1, -1, -1, "");
    PyArrayObject* const weights = inputs.take(2, -1, -1, -1, "");
    if (inputs.failed) return -1;
    s.units = PyArray_DIM(weights, 0);
    PyArrayObject* const bias = inputs.take(1, numbers[BIASES] * s.units, -1, -1, "bias");
    if (PyArray_DIM(weights, 1) != s.wide() || PyArray_DIM(given, PyArray_NDIM(given) - 1) != s.wide()) {
        PyErr_SetString(PyExc_ValueError, "recurrence: the weights do not fit the number of units");
        return -1;
    }
    s.given = inputs.data(given);
    s.weights = inputs.data(weights);
    s.bias = inputs.data(bias);
    s.vocabulary = s.steps = PyArray_DIM(given, 0);
    s.examples = PyArray_DIM(given, 1);
    take_rest(s, inputs, numbers);
    if (inputs.failed) return -1;
    s.saved = numbers[OVERWRITES] ? over(in, out, 0, s.given) : NULL;
    if (!s.saved) s.saved = made(out, 0, 3, s.steps, s.examples, s.saves * s.units);
    if (!s.saved) return -1;
    for (int state = 0; state < s.states; ++state) {
        s.after[state] = made(out, 1 + state, 3, s.steps, s.examples, s.units);
        if (!s.after[state]) return -1;
    }
    if (run_pass(s, true)) return 0;
    PyErr_NoMemory();
    return -1;
}

int run_backward(Sequence& s, PyObject* in, PyObject* out, const npy_int64* numbers) {
    Inputs inputs(in);
    PyArrayObject* const saved = inputs.take(3, -1, -1, -1, "");
    PyArrayObject* const weights = inputs.take(2, -1, -1, -1, "");
    if (inputs.failed) return -1;
    s.units = PyArray_DIM(weights, 0);
    s.saved = inputs.data(saved);
    s.weights = inputs.data(weights);
    s.steps = PyArray_DIM(saved, 0);
    s.examples = PyArray_DIM(saved, 1);
    if (numbers[TOKENS]) {
        PyArrayObject* const table = inputs.take(2, -1, s.wide(), -1, "table");
        if (table) s.vocabulary = PyArray_DIM(table, 0);
    }
    take_rest(s, inputs, numbers);
    for (int state = 0; state < s.states; ++state)
        s.after[state] = inputs.data(inputs.take(3, s.steps, s.examples, s.units, "states"));
    for (int state = 0; state < s.states; ++state)
        if (numbers[ARRIVES + state])
            s.arriving[state] = inputs.data(inputs.take(3, s.steps, s.examples, s.units, "gradients"));
    if (inputs.failed) return -1;
    Py_ssize_t place = 0;
    s.to_sums = numbers[OVERWRITES] ? over(in, out, 0, s.saved) : NULL;
    if (!s.to_sums) s.to_sums = made(out, 0, 3, s.steps, s.examples, s.wide());
    const bool two = numbers[BIASES] != s.gates;
    s.to_recurrent = two ? made(out, ++place, 3, s.steps, s.examples, s.wide()) : s.to_sums;
    Real* const table = numbers[TOKENS] ? made(out, ++place, 2, s.vocabulary, s.wide(), 0) : NULL;
    Real* const bias = made(out, ++place, 1, numbers[BIASES] * s.units, 0, 0);
    for (int state = 0; state < s.states; ++state)
        s.to_states[state] = made(out, ++place, 2, s.examples, s.units, 0);
    if (PyErr_Occurred()) return -1;
    if (!run_pass(s, false)) { PyErr_NoMemory(); return -1; }
    add_up(s, s.to_sums, bias, 0, table);
    if (two) add_up(s, s.to_recurrent, bias + s.wide(), s.wide() - s.units, NULL);
    return 0;
}

int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    Sequence s = Sequence();
    s.cell = numbers[CELL];
    s.function = numbers[FUNCTION];
    s.gates = numbers[GATES];
    s.states = numbers[STATES];
    s.saves = numbers[SAVES];
    s.backwards = numbers[LAST_FIRST] != 0;
    return numbers[BACKWARD] ? run_backward(s, in, out, numbers) : run_forward(s, in, out, numbers);
}

}  // namespace
"""


def text_for(dtype: str) -> str:
    """Give the C for float32 or float64."""
    real, integer, bits = ("double", "int64_t", 64) if dtype == "float64" else ("float", "int32_t", 32)
    names = f"#define Real {real}\n#define Integer {integer}\n#define TYPE NPY_FLOAT{bits}\n"
    return names + TILES + functions_for(dtype) + PASSES + _RUN
