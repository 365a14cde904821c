"""The C by which `trainer.kernels.finite` sums squares."""

from __future__ import annotations

SUMS = """
#include <stdint.h>
#include <string.h>

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

template <typename Number>
double sum_of_squares(PyArrayObject* array) {
    if (PyArray_ISONESEGMENT(array))
        return sum_of_squares((const Number*)PyArray_DATA(array), PyArray_SIZE(array));
    return sum_of_squares<Number>(
        PyArray_BYTES(array), PyArray_DIMS(array), PyArray_STRIDES(array), PyArray_NDIM(array));
}

// The exact answer, where the sum has none: the norm, or -1 with an exception.
double examine(PyArrayObject** arrays, int count) {
    PyObject* module = PyImport_ImportModule("trainer.kernels.finite");
    if (!module) return -1;
    PyObject* list = PyList_New(count);
    for (int k = 0; list && k < count; ++k) {
        Py_INCREF(arrays[k]);
        PyList_SET_ITEM(list, k, (PyObject*)arrays[k]);
    }
    PyObject* norm = list ? PyObject_CallMethod(module, "examine", "O", list) : NULL;
    const double value = norm ? PyFloat_AsDouble(norm) : -1;
    Py_XDECREF(norm);
    Py_XDECREF(list);
    Py_DECREF(module);
    return value;
}

}  // namespace
"""
