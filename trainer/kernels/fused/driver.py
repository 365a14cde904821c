"""The C++ that every fused kernel has in common: arrays in, pieces of work out, arrays back."""

from __future__ import annotations

DRIVER = """
namespace {

// Elements of a piece: few enough to share out, many enough that sharing costs nothing.
// Sums are added up piece by piece, so that their bits do not depend on the threads.
const npy_intp PIECE = 16384;

// Bytes of all arrays below which waking another thread takes longer than its help saves.
const npy_intp UPDATE_WORTH_SHARING = (npy_intp)4 << 20;

struct Member {
    char* in[LEAVES + 1];
    char* out[RESULTS + 1];
    Own own;
    npy_intp outer, inner, step;  // rows, their length, and of what one piece has so many
    npy_intp shift;               // elements before the first that begins a line of the cache
    bool flat;                    // one row, of which pieces are made
    double* rows;                 // sums that lie as rows, for each piece
    uint32_t first;               // its first piece
};

struct Job {
    const Common* common;
    Member* members;
    long count;
    uint32_t pieces;
    double* sums;
};

void work_piece(const Job& job, uint32_t piece) {
    long low = 0, high = job.count - 1;
    while (low < high) {
        const long middle = (low + high + 1) / 2;
        if (job.members[middle].first <= piece) low = middle; else high = middle - 1;
    }
    Member& m = job.members[low];
    double* const sums = job.sums + (size_t)piece * SUMS;
    double* const rows = m.rows + (size_t)(piece - m.first) * ROWS * m.inner;
    npy_intp at = (npy_intp)(piece - m.first) * m.step;
    if (m.flat) {
        const npy_intp rest = m.inner - m.shift, end = m.shift + (at + m.step < rest ? at + m.step : rest);
        if (!at && m.shift) kernel(m.in, m.out, *job.common, m.own, 0, 0, 0, m.shift, sums, rows);
        at += m.shift;
        if (at < end) kernel(m.in, m.out, *job.common, m.own, 0, at, at, end - at, sums, rows);
    } else {
        const npy_intp end = at + m.step < m.outer ? at + m.step : m.outer;
        for (npy_intp row = at; row < end; ++row)
            kernel(m.in, m.out, *job.common, m.own, row, row * m.inner, 0, m.inner, sums, rows);
    }
}

PyObject* cell_of(PyObject* cells, long at) { return PyTuple_GET_ITEM(cells, at); }

// An array of this type that lies as C wants it; what had to be made for that is kept in the list.
PyArrayObject* array_in(PyObject* cell, int type, PyObject* kept) {
    PyObject* const value = PyList_GET_ITEM(cell, 0);
    if (PyArray_Check(value) && PyArray_TYPE((PyArrayObject*)value) == type
            && PyArray_ISALIGNED((PyArrayObject*)value) && PyArray_ISNOTSWAPPED((PyArrayObject*)value))
        return (PyArrayObject*)value;
    PyObject* const made = PyArray_FROM_OTF(value, type, NPY_ARRAY_ALIGNED | NPY_ARRAY_NOTSWAPPED);
    if (!made) return NULL;
    const int failed = PyList_Append(kept, made);
    Py_DECREF(made);
    return failed ? NULL : (PyArrayObject*)made;
}

PyArrayObject* in_order(PyArrayObject* array, bool fortran, PyObject* kept) {
    if (fortran ? PyArray_IS_F_CONTIGUOUS(array) : PyArray_IS_C_CONTIGUOUS(array)) return array;
    PyObject* const made = PyArray_NewCopy(array, fortran ? NPY_FORTRANORDER : NPY_CORDER);
    if (!made) return NULL;
    const int failed = PyList_Append(kept, made);
    Py_DECREF(made);
    return failed ? NULL : (PyArrayObject*)made;
}

int refuse(PyArrayObject* first, PyArrayObject* other, const char* what) {
    PyObject* const a = PyObject_GetAttrString((PyObject*)first, "shape");
    PyObject* const b = PyObject_GetAttrString((PyObject*)other, "shape");
    PyErr_Format(PyExc_ValueError, "fused update: %s of shape %S beside a tensor of shape %S", what, b, a);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return -1;
}

// A vector in two lines of the cache costs two accesses, and what malloc gives often begins within a line.
// Sums are of pieces that do not depend on where the arrays lie.
npy_intp lead(const Member& m) {
    if (SUMS || !m.flat) return 0;
    for (int k = 0; k < RESULTS; ++k) {
        if (RESULT_KINDS[k] != FULL) continue;
        const size_t item = RESULT_TYPES[k] == NPY_FLOAT ? 4 : 8;
        const npy_intp before = (npy_intp)((64 - (size_t)m.out[k] % 64) % 64 / item);
        return before < m.inner ? before : m.inner;
    }
    return 0;
}

// Put the arrays of one parameter and its states in place.
int arrange(Member& m, PyObject* in, PyObject* out, long first_in, long first_out, npy_intp split,
            const npy_int64* overwritten, PyObject* kept) {
    PyArrayObject *arrays[LEAVES + 1], *given[LEAVES + 1], *full = NULL;
    bool c = true, fortran = !PARTIAL;
    for (int k = 0; k < LEAVES; ++k) {
        arrays[k] = array_in(cell_of(in, first_in + k), TYPES[k], kept);
        if (!arrays[k]) return -1;
        given[k] = (PyArrayObject*)PyList_GET_ITEM(cell_of(in, first_in + k), 0);
        if (KINDS[k] != FULL) continue;
        if (!full) full = arrays[k];
        if (PyArray_NDIM(full) != PyArray_NDIM(arrays[k])
                || !PyArray_CompareLists(PyArray_DIMS(full), PyArray_DIMS(arrays[k]), PyArray_NDIM(full)))
            return refuse(full, arrays[k], "a tensor");
        c = c && PyArray_IS_C_CONTIGUOUS(arrays[k]);
        fortran = fortran && PyArray_IS_F_CONTIGUOUS(arrays[k]);
    }
    fortran = fortran && !c;
    m.outer = 1;
    m.inner = PyArray_SIZE(full);
    if (PARTIAL) {
        for (npy_intp axis = 0; axis < split; ++axis) m.outer *= PyArray_DIMS(full)[axis];
        m.inner = m.outer ? m.inner / m.outer : 0;
    }
    m.flat = m.outer == 1 && !ALONG;
    m.step = m.flat ? PIECE : 1 + PIECE / (m.inner + 1);
    // Each piece has a row of sums of its own.
    if (ROWS && m.step < m.outer / 16 + 1) m.step = m.outer / 16 + 1;
    for (int k = 0; k < LEAVES; ++k) {
        if (KINDS[k] != SCALAR) {
            arrays[k] = in_order(arrays[k], fortran, kept);
            if (!arrays[k]) return -1;
            if (KINDS[k] != FULL && PyArray_SIZE(arrays[k]) != (KINDS[k] == ROW ? m.inner : m.outer))
                return refuse(full, arrays[k], "a row or column");
        }
        m.in[k] = PyArray_BYTES(arrays[k]);
    }
    for (int k = 0; k < RESULTS; ++k) {
        PyObject* const cell = cell_of(out, first_out + k);
        if (RESULT_KINDS[k] == ROW || RESULT_KINDS[k] == COLUMN) {
            const bool row = RESULT_KINDS[k] == ROW;
            const int axes = row ? PyArray_NDIM(full) - (int)split : (int)split;
            PyArrayObject* const made =
                array_out(cell, axes, PyArray_DIMS(full) + (row ? split : 0), RESULT_TYPES[k], false);
            if (!made) return -1;
            m.out[k] = PyArray_BYTES(made);
        }
        if (RESULT_KINDS[k] != FULL) continue;
        const npy_int64 over = overwritten[k];
        if (over >= 0 && given[over] == arrays[over] && PyArray_ISWRITEABLE(arrays[over])) {
            Py_INCREF(arrays[over]);
            PyList_SetItem(cell, 0, (PyObject*)arrays[over]);
            m.out[k] = m.in[over];
        } else {
            PyArrayObject* const made =
                array_out(cell, PyArray_NDIM(full), PyArray_DIMS(full), RESULT_TYPES[k], fortran);
            if (!made) return -1;
            m.out[k] = PyArray_BYTES(made);
        }
    }
    m.shift = lead(m);
    return 0;
}

void share_out(const Job& job, npy_intp elements) {
    const auto body = [&job](uint32_t piece) { work_piece(job, piece); };
    const double bytes = (double)elements * STREAM_BYTES;
    if (trainer::worth(bytes, UPDATE_WORTH_SHARING)) trainer::parallel_for(job.pieces, body);
    else for (uint32_t piece = 0; piece < job.pieces; ++piece) body(piece);
}

int put_scalar(PyObject* cell, int type, double value) {
    PyArrayObject* const array = array_out(cell, 0, NULL, type, false);
    if (!array) return -1;
    if (type == NPY_FLOAT) *(npy_float32*)PyArray_DATA(array) = (npy_float32)value;
    else *(npy_float64*)PyArray_DATA(array) = value;
    return 0;
}

// Sums that lie as a row, of all pieces.
void add_rows(const Member& m, uint32_t pieces, int which, char* out, int type) {
    double* const total = m.rows + which * m.inner;
    for (size_t piece = 1; piece < pieces; ++piece) {
        const double* const row = total + piece * ROWS * m.inner;
        #pragma GCC ivdep
        for (npy_intp i = 0; i < m.inner; ++i) total[i] += row[i];
    }
    for (npy_intp i = 0; i < m.inner; ++i)
        if (type == NPY_FLOAT) ((npy_float32*)out)[i] = pieces ? (npy_float32)total[i] : 0;
        else ((npy_float64*)out)[i] = pieces ? total[i] : 0;
}

int run_members(const Common& common, PyObject* in, PyObject* out, const npy_int64* numbers, PyObject* kept) {
    const long count = (long)numbers[0];
    const npy_int64 *overwritten = numbers + 1, *splits = overwritten + RESULTS;
    Job job = {&common, (Member*)calloc(count, sizeof(Member)), count, 0, NULL};
    if (!job.members) { PyErr_NoMemory(); return -1; }
    npy_intp elements = 0;
    int failed = 0;
    for (long k = 0; k < count && !failed; ++k) {
        Member& m = job.members[k];
        const long first_in = COMMONS + k * LEAVES, first_out = COMMON_RESULTS + k * RESULTS;
        failed = arrange(m, in, out, first_in, first_out, splits[k], overwritten, kept);
        if (failed) break;
        own_scalars(common, m.in, m.own);
        m.first = job.pieces;
        const npy_intp pieces = ((m.flat ? m.inner : m.outer) + m.step - 1) / m.step;
        job.pieces += (uint32_t)pieces;
        elements += m.outer * m.inner;
        if (ROWS && !(m.rows = (double*)calloc((size_t)pieces * ROWS * m.inner + 1, sizeof(double)))) {
            PyErr_NoMemory();
            failed = -1;
        }
    }
    if (!failed && SUMS && !(job.sums = (double*)calloc((size_t)job.pieces * SUMS + 1, sizeof(double)))) {
        PyErr_NoMemory();
        failed = -1;
    }
    if (!failed && job.pieces) share_out(job, elements);
    for (long k = 0; k < count && !failed && (SUMS || ROWS); ++k) {
        const Member& m = job.members[k];
        const uint32_t pieces = (k + 1 < count ? job.members[k + 1].first : job.pieces) - m.first;
        for (int r = 0, s = 0, along = 0; r < RESULTS && !failed; ++r) {
            if (RESULT_KINDS[r] == ROW) {
                add_rows(m, pieces, along++, m.out[r], RESULT_TYPES[r]);
            } else if (RESULT_KINDS[r] == SCALAR) {
                double total = 0;
                for (uint32_t piece = 0; piece < pieces; ++piece)
                    total += job.sums[(size_t)(m.first + piece) * SUMS + s];
                failed = put_scalar(cell_of(out, COMMON_RESULTS + k * RESULTS + r), RESULT_TYPES[r], total);
                ++s;
            }
        }
    }
    for (long k = 0; k < count; ++k) free(job.members[k].rows);
    free(job.sums);
    free(job.members);
    return failed;
}

int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    PyObject* const kept = PyList_New(0);
    if (!kept) return -1;
    char* scalars[COMMONS + 1];
    int failed = 0;
    for (int k = 0; k < COMMONS && !failed; ++k) {
        PyArrayObject* const array = array_in(cell_of(in, k), COMMON_TYPES[k], kept);
        failed = array ? 0 : -1;
        if (array) scalars[k] = PyArray_BYTES(array);
    }
    Common common;
    char* results[COMMON_RESULTS + 1];
    if (!failed) common_scalars(scalars, common);
    for (int k = 0; k < COMMON_RESULTS && !failed; ++k) {
        PyArrayObject* const array = array_out(cell_of(out, k), 0, NULL, COMMON_RESULT_TYPES[k], false);
        failed = array ? 0 : -1;
        if (array) results[k] = PyArray_BYTES(array);
    }
    if (!failed) {
        put_common(common, results);
        failed = run_members(common, in, out, numbers, kept);
    }
    Py_DECREF(kept);
    return failed;
}

}  // namespace
"""
