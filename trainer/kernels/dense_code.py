"""The C of dense layers: a product, what becomes of its tiles, and when the library multiplies instead."""

from __future__ import annotations

from trainer.kernels.activation_rows import VALUES
from trainer.kernels.dense_passes import PASSES
from trainer.kernels.dense_zeros import ZEROS

PRODUCT, ACTIVATED, GRADIENT = range(3)

CODE = (
    "#define Real float\n#define Integer int32_t\n"
    + VALUES
    + PASSES
    + ZEROS
    + """
namespace {

enum { PRODUCT, ACTIVATED, GRADIENT };
enum { FEW = 8 };  // rows
// The most of the left factor that may be other than zero for its zeros to be passed over.
const double MOSTLY = BYTES < 64 ? 0.25 : 0.45;

template <class F>
void activate(const Work& work, int64_t, int64_t row, int height, int64_t column, int used) {
    const Real* const bias = work.beside + column;
    for (int r = 0; r < height; ++r) {
        Real* const out = work.out + (row + r) * work.columns + column;
        #pragma GCC ivdep
        for (int c = 0; c < used; ++c) out[c] = F::value(out[c] + bias[c]);
    }
}

template <class F>
void slope(const Work& work, int64_t tile, int64_t row, int height, int64_t column, int used) {
    Real* const sums = work.sums + tile * work.columns + column;
    for (int r = 0; r < height; ++r) {
        const int64_t at = (row + r) * work.columns + column;
        const Real* const value = work.beside + at;
        Real* const out = work.out + at;
        #pragma GCC ivdep
        for (int c = 0; c < used; ++c) {
            const Real found = out[c] * (F::slope(value[c]) * work.scale);
            out[c] = found;
            sums[c] += found;
        }
    }
}

template <class F>
Finish finish_of(npy_int64 operation) {
    return operation == PRODUCT ? NULL : operation == ACTIVATED ? activate<F> : slope<F>;
}

Finish finish_of(npy_int64 operation, npy_int64 function) {
    switch (function) {
        case 0: return finish_of<Linear>(operation);
        case 1: return finish_of<Relu>(operation);
        case 2: return finish_of<LeakyRelu>(operation);
        case 3: return finish_of<Tanh>(operation);
        case 4: return finish_of<Sigmoid>(operation);
        default: return finish_of<Elu>(operation);
    }
}

void finish_all(const Work& work) {
    if (!work.finish) return;
    const Tiles tiles(work.rows);
    for (int64_t k = 0; k < tiles.count; ++k)
        for (int64_t column = 0; column < work.columns; column += WIDE) {
            const int64_t rest = work.columns - column;
            work.finish(work, k, tiles.first(k), tiles.height(k), column, (int)(rest < WIDE ? rest : WIDE));
        }
}

typedef void (*Library)(const char*, const char*, const int*, const int*, const int*, const Real*,
                        const Real*, const int*, const Real*, const int*, const Real*, Real*, const int*);

// A few rows are not worth packing what they are multiplied with, and narrower registers are the library's.
bool better(const Work& work) {
#if defined(__AVX512F__)
    return work.rows < FEW || work.columns < 2;
#else
    return true;
#endif
}

// The library counts columns first, and computes outᵀ = rightᵀ · leftᵀ.
void by(Library library, const Work& work) {
    const int columns = (int)work.columns, rows = (int)work.rows, terms = (int)work.terms;
    const int right = (int)(work.right.right == 1 ? work.right.down : work.right.right);
    const int left = (int)(work.left.right == 1 ? work.left.down : work.left.right);
    const Real one = 1, zero = 0;
    library(work.right.right == 1 ? "N" : "T", work.left.right == 1 ? "N" : "T", &columns, &rows, &terms,
            &one, work.right.at, &right, work.left.at, &left, &zero, work.out, &columns);
    finish_all(work);
}

// A matrix whose rows or columns lie side by side.
struct Matrix {
    PyArrayObject* array;
    Factor factor;
    int64_t rows, columns;
    Matrix(PyObject* in, int place, bool turned) {
        array = (PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, place), 0);
        Py_INCREF(array);
        if (!read(turned)) {
            PyArrayObject* const copy = (PyArrayObject*)PyArray_FROM_OF(
                (PyObject*)array, NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_ENSURECOPY);
            Py_DECREF(array);
            array = copy;
            if (array) read(turned);
        }
    }
    ~Matrix() { Py_XDECREF(array); }
    bool read(bool turned) {
        const npy_intp size = sizeof(Real), *const steps = PyArray_STRIDES(array);
        rows = PyArray_DIM(array, turned);
        columns = PyArray_DIM(array, !turned);
        const npy_intp down = steps[turned], right = steps[!turned];
        factor = {(const Real*)PyArray_DATA(array), down / size, right / size};
        if (columns < 2) factor.right = 1;
        if (rows < 2) factor.down = factor.right == 1 ? (columns ? columns : 1) : 1;
        return PyArray_ISBEHAVED_RO(array) && down % size == 0 && right % size == 0
            && ((factor.right == 1 && factor.down >= columns) || (factor.down == 1 && factor.right >= rows));
    }
private:
    Matrix(const Matrix&);
    Matrix& operator=(const Matrix&);
};

int refuse(const char* what) {
    PyErr_SetString(PyExc_ValueError, what);
    return -1;
}

// Sums of the tiles' sums, tile by tile.
void add_up(const Work& work, int64_t tiles, Real* out) {
    for (int64_t first = 0; first < work.columns; first += 64) {
        const int64_t rest = work.columns - first, count = rest < 64 ? rest : 64;
        double sums[64] = {};
        for (int64_t k = 0; k < tiles; ++k)
            for (int64_t c = 0; c < count; ++c) sums[c] += work.sums[k * work.columns + first + c];
        for (int64_t c = 0; c < count; ++c) out[first + c] = (Real)sums[c];
    }
}

// The share of the left factor that is multiplied: all of it where passing over its zeros would not pay.
double wanted(const Work& work) {
    if (work.rows < FEW || work.columns < NARROW || work.terms < SHORT) return 1;
    const double share = filled(work.left, work.rows, work.terms);
    return share > MOSTLY ? 1 : share > 0.02 ? share : 0.02;
}

bool run(Work& work, Library library) {
    if (!work.terms) {
        memset(work.out, 0, work.rows * work.columns * sizeof(Real));
        finish_all(work);
        return true;
    }
    const double share = wanted(work), multiplications = share * work.rows * work.columns * work.terms;
    if (share == 1 && library && better(work)) {
        by(library, work);
        return true;
    }
    const Tiles tiles(work.rows);
    // Where there is little to do, waking another thread takes longer than its help saves.
    const int64_t threads = trainer::worth(multiplications, LEAST) ? trainer::threads() : 1;
    return share < 1 ? multiply_gathered(work, tiles, share, threads) : multiply_all(work, tiles, threads);
}

int with_sums(Work& work, Library library, PyObject* cell) {
    npy_intp shape = work.columns;
    PyArrayObject* const total = array_out(cell, 1, &shape, NPY_FLOAT32, false);
    if (!total) return -1;
    const int64_t tiles = Tiles(work.rows).count;
    work.sums = (Real*)calloc(tiles * work.columns + 1, sizeof(Real));
    const bool done = work.sums && run(work, library);
    if (done) add_up(work, tiles, (Real*)PyArray_DATA(total));
    free(work.sums);
    if (!done) PyErr_NoMemory();
    return done ? 0 : -1;
}

// Numbers: the operation, the function, the slopes' scale, which factors are turned, the library's address.
int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    const npy_int64 operation = numbers[0];
    const Matrix left(in, 0, numbers[3] != 0), right(in, 1, numbers[4] != 0);
    if (!left.array || !right.array) return -1;
    if (left.columns != right.rows)
        return refuse("product: the left matrix has not as many columns as the right one has rows");
    Work work = Work();
    work.left = left.factor;
    work.right = right.factor;
    work.rows = left.rows;
    work.columns = right.columns;
    work.terms = left.columns;
    double scale;
    memcpy(&scale, &numbers[2], sizeof scale);
    work.scale = (Real)scale;
    work.finish = finish_of(operation, numbers[1]);
    PyArrayObject* beside = NULL;
    if (operation != PRODUCT) {
        beside = PyArray_GETCONTIGUOUS((PyArrayObject*)PyList_GET_ITEM(PyTuple_GET_ITEM(in, 2), 0));
        if (!beside) return -1;
        const int64_t wanted = operation == ACTIVATED ? work.columns : work.rows * work.columns;
        if (PyArray_SIZE(beside) != wanted) {
            Py_DECREF(beside);
            return refuse("product: the bias or the values do not belong to the product");
        }
        work.beside = (const Real*)PyArray_DATA(beside);
    }
    npy_intp shape[] = {(npy_intp)work.rows, (npy_intp)work.columns};
    PyArrayObject* const result = array_out(PyTuple_GET_ITEM(out, 0), 2, shape, NPY_FLOAT32, false);
    int failed = result ? 0 : -1;
    if (result) {
        const Library library = (Library)(intptr_t)numbers[5];
        work.out = (Real*)PyArray_DATA(result);
        if (operation == GRADIENT) failed = with_sums(work, library, PyTuple_GET_ITEM(out, 1));
        else if (!run(work, library)) { PyErr_NoMemory(); failed = -1; }
    }
    Py_XDECREF(beside);
    return failed;
}

}  // namespace
"""
)
