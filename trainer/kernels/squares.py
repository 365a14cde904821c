"""The C by which `trainer.kernels.finite` sums squares."""

from __future__ import annotations

CHECK = """
namespace {

// By its bits, which no option of the compiler takes for granted.
inline bool is_finite(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (bits & 0x7ff0000000000000ULL) != 0x7ff0000000000000ULL;
}

// Independent sums are what lets the compiler work on a whole register at once.
template <typename Number>
double sum_of_squares(const Number* numbers, npy_intp count) {
    enum { SUMS = 32 };
    double sums[SUMS] = {0};
    npy_intp at = 0;
    for (; at + SUMS <= count; at += SUMS)
        for (int k = 0; k < SUMS; ++k) {
            const double number = numbers[at + k];
            sums[k] += number * number;
        }
    double total = 0;
    for (; at < count; ++at) total += double(numbers[at]) * numbers[at];
    for (int k = 0; k < SUMS; ++k) total += sums[k];
    return total;
}

template <typename Number>
double sum_of_squares(const char* numbers, const npy_intp* shape, const npy_intp* strides, int axes) {
    double total = 0;
    for (npy_intp at = 0; at < shape[0]; ++at, numbers += strides[0])
        if (axes > 1) {
            total += sum_of_squares<Number>(numbers, shape + 1, strides + 1, axes - 1);
        } else {
            const double number = *(const Number*)numbers;
            total += number * number;
        }
    return total;
}

// Numbers of a piece. The sums are added up piece by piece, so that their bits do not depend on the threads.
const npy_intp PIECE = 65536;

npy_intp pieces_of(PyArrayObject* array) {
    return PyArray_ISONESEGMENT(array) ? (PyArray_SIZE(array) + PIECE - 1) / PIECE : 1;
}

template <typename Number>
double sum_of_piece(PyArrayObject* array, npy_intp piece) {
    if (!PyArray_ISONESEGMENT(array))
        return sum_of_squares<Number>(
            PyArray_BYTES(array), PyArray_DIMS(array), PyArray_STRIDES(array), PyArray_NDIM(array));
    const npy_intp start = piece * PIECE, left = PyArray_SIZE(array) - start;
    return sum_of_squares((const Number*)PyArray_DATA(array) + start, left < PIECE ? left : PIECE);
}

double number_of(PyArrayObject* array, npy_intp piece) {
    return PyArray_TYPE(array) == NPY_FLOAT ? sum_of_piece<npy_float>(array, piece)
                                            : sum_of_piece<npy_double>(array, piece);
}

struct Piece { PyArrayObject* array; npy_intp number; double sum; };

// The sum of the squares of all gradients, or -1 with an exception.
double sum_of_all(PyObject* in) {
    npy_intp count = 0, bytes = 0;
    for (Py_ssize_t k = 1; k < PyTuple_GET_SIZE(in); ++k) {
        PyArrayObject* const array = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, k), 0);
        count += pieces_of(array);
        bytes += PyArray_NBYTES(array);
    }
    Piece* const pieces = (Piece*)calloc(count + 1, sizeof(Piece));
    if (!pieces) { PyErr_NoMemory(); return -1; }
    Piece* next = pieces;
    for (Py_ssize_t k = 1; k < PyTuple_GET_SIZE(in); ++k) {
        PyArrayObject* const array = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, k), 0);
        for (npy_intp number = 0; number < pieces_of(array); ++number, ++next) {
            next->array = array;
            next->number = number;
        }
    }
    const auto sum = [pieces](uint32_t k) { pieces[k].sum = number_of(pieces[k].array, pieces[k].number); };
    if (trainer::worth(bytes, WORTH_SHARING)) trainer::parallel_for((uint32_t)count, sum);
    else for (npy_intp k = 0; k < count; ++k) sum((uint32_t)k);
    double total = 0;
    for (npy_intp k = 0; k < count; ++k) total += pieces[k].sum;
    free(pieces);
    return total;
}

// The exact answer, where the sum has none: the norm, or -1 with an exception.
double examine(PyObject* in) {
    PyObject* const module = PyImport_ImportModule("trainer.kernels.finite");
    if (!module) return -1;
    PyObject* const list = PyList_New(PyTuple_GET_SIZE(in));
    for (Py_ssize_t k = 0; list && k < PyTuple_GET_SIZE(in); ++k) {
        PyObject* const array = PyList_GET_ITEM(PyTuple_GET_ITEM(in, k), 0);
        Py_INCREF(array);
        PyList_SET_ITEM(list, k, array);
    }
    PyObject* const norm = list ? PyObject_CallMethod(module, "examine", "O", list) : NULL;
    const double value = norm ? PyFloat_AsDouble(norm) : -1;
    Py_XDECREF(norm);
    Py_XDECREF(list);
    Py_DECREF(module);
    return value;
}

int refuse(PyObject* value) {
    PyErr_Format(
        PyExc_TypeError, "check_finite: arrays of float32 or float64 are wanted, not %R", Py_TYPE(value));
    return -1;
}

int run_plan(PyObject* in, PyObject* out, const npy_int64*) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(in); ++k) {
        PyObject* const value = PyList_GET_ITEM(PyTuple_GET_ITEM(in, k), 0);
        if (!PyArray_Check(value)) return refuse(value);
        const int type = PyArray_TYPE((PyArrayObject*)value);
        if (type != NPY_FLOAT && type != NPY_DOUBLE) return refuse(value);
    }
    const double total = sum_of_all(in);
    if (total < 0) return -1;
    PyArrayObject* const loss = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, 0), 0);
    const void* const data = PyArray_DATA(loss);
    const double value = PyArray_TYPE(loss) == NPY_FLOAT ? *(const npy_float*)data : *(const npy_double*)data;
    double norm = sqrt(total);
    if (!is_finite(total) || !is_finite(value)) {
        norm = examine(in);
        if (PyErr_Occurred()) return -1;
    }
    PyArrayObject* const result = array_out(PyTuple_GET_ITEM(out, 0), 0, NULL, NPY_DOUBLE, false);
    if (!result) return -1;
    *(npy_double*)PyArray_DATA(result) = norm;
    for (Py_ssize_t k = 1; k < PyTuple_GET_SIZE(in); ++k)
        pass(PyTuple_GET_ITEM(in, k), PyTuple_GET_ITEM(out, k));
    return 0;
}

}  // namespace
"""

PASS = """
static int run_plan(PyObject* in, PyObject* out, const npy_int64*) {
    pass(PyTuple_GET_ITEM(in, 0), PyTuple_GET_ITEM(out, 0));
    return 0;
}
"""
