"""The C of the convolutions: one small product in registers, which all three passes are led back to.

A tile is a few rows times two vectors of columns. Its sums stay in the processor's registers while it goes
over the inner terms. A row's factor is one number of an image, found where it lies by two offsets, of the row
and of the term; the columns are filters (or, backward to the inputs, channels), packed beside one another. So
no image is ever copied out into columns, and the passes differ in what they take for row and term:

========  ======================  ======================  =================================
pass      rows                    inner terms             columns
========  ======================  ======================  =================================
forward   places of the output    channel, kernel place   filters
weights   channel, kernel place   places of the output    filters
inputs    places of the output    filters                 channels, once per kernel place
========  ======================  ======================  =================================

What is added up, and in which order, does not depend on the number of threads.
"""

from __future__ import annotations

from trainer.kernels.convolution_backward import BACKWARD
from trainer.kernels.convolution_forward import FORWARD
from trainer.kernels.convolution_tiles import TILES

RUN = """
namespace {

struct Given {  // an input, in one piece of memory
    PyArrayObject* array;
    Given(PyObject* in, int place)
        : array(PyArray_GETCONTIGUOUS((PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, place), 0))) {}
    ~Given() { Py_XDECREF(array); }
    const Real* data() const { return array ? (const Real*)PyArray_DATA(array) : NULL; }
    npy_intp length(int axis) const { return PyArray_DIM(array, axis); }
    operator bool() const { return array != NULL; }
private:
    Given(const Given&);
    Given& operator=(const Given&);
};

Real* made(PyObject* out, int place, int axes, npy_intp* shape) {
    PyArrayObject* const array = array_out(PyTuple_GET_ITEM(out, place), axes, shape, TYPE, false);
    return array ? (Real*)PyArray_DATA(array) : NULL;
}

int complain(const char* what) {
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

// Numbers: the pass, strides, dilations, zeros before and after, groups, relu, whether there is a bias.
int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    enum { FORWARD, WEIGHTS, INPUTS };
    const Given x(in, 0), weights(in, 1);
    if (!x || !weights) return -1;
    Shape s;
    for (int axis = 0; axis < 2; ++axis) {
        s.stride[axis] = numbers[1 + axis];
        s.dilation[axis] = numbers[3 + axis];
        s.before[axis] = numbers[5 + axis];
        s.after[axis] = numbers[7 + axis];
    }
    s.groups = numbers[9];
    s.relu = numbers[10] != 0;
    s.images = x.length(0); s.channels = x.length(1); s.rows = x.length(2); s.columns = x.length(3);
    s.filters = weights.length(0); s.height = weights.length(2); s.width = weights.length(3);
    if (weights.length(1) * s.groups != s.channels || s.filters % s.groups)
        return complain("convolution: the filters see another number of channels than the images have");
    const int64_t row_span = (s.height - 1) * s.dilation[0] + 1;
    const int64_t column_span = (s.width - 1) * s.dilation[1] + 1;
    if (s.padded_rows() < row_span || s.padded_columns() < column_span)
        return complain("convolution: the images are smaller than the kernel");
    s.out_rows = (s.padded_rows() - row_span) / s.stride[0] + 1;
    s.out_columns = (s.padded_columns() - column_span) / s.stride[1] + 1;
    npy_intp of_y[] = {x.length(0), weights.length(0), (npy_intp)s.out_rows, (npy_intp)s.out_columns};
    bool done = false;
    if (numbers[0] == FORWARD) {
        Real* const y = made(out, 0, 4, of_y);
        if (!y) return -1;
        if (numbers[11]) {
            const Given bias(in, 2);
            if (!bias) return -1;
            if (bias.length(0) != s.filters)
                return complain("convolution: there is not one bias for each filter");
            done = forward(s, x.data(), weights.data(), bias.data(), y);
        } else done = forward(s, x.data(), weights.data(), NULL, y);
    } else {
        const Given slopes(in, 2), y(in, s.relu ? 3 : 2);
        if (!slopes || !y) return -1;
        if (!PyArray_CompareLists(PyArray_DIMS(slopes.array), of_y, 4)
                || !PyArray_CompareLists(PyArray_DIMS(y.array), of_y, 4))
            return complain("convolution: the gradient has another shape than the output");
        if (numbers[0] == WEIGHTS) {
            Real* const to = made(out, 0, 4, PyArray_DIMS(weights.array));
            Real* const bias = made(out, 1, 1, of_y + 1);
            if (!to || !bias) return -1;
            done = to_weights(s, x.data(), y.data(), slopes.data(), to, bias);
        } else {
            Real* const to = made(out, 0, 4, PyArray_DIMS(x.array));
            if (!to) return -1;
            done = to_inputs(s, weights.data(), y.data(), slopes.data(), to);
        }
    }
    if (!done) PyErr_NoMemory();
    return done ? 0 : -1;
}

}  // namespace
"""


def text_for(dtype: str) -> str:
    """Give the C for float32 or float64."""
    real, integer, bits = ("double", "int64_t", 64) if dtype == "float64" else ("float", "int32_t", 32)
    names = f"#define Real {real}\n#define Integer {integer}\n#define TYPE NPY_FLOAT{bits}\n"
    return names + TILES + FORWARD + BACKWARD + RUN
