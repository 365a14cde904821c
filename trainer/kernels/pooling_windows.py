"""The C of pooling, forward and backward, plane by plane."""

from __future__ import annotations

MAX, AVERAGE = range(2)

WINDOWS = """
namespace {

// Numbers of a piece: what two threads take turns with.
const npy_intp PIECE = 32768, SOME = 128;

// Along rows or columns: the image's length, the window's, the step to the next one, the border, how many.
struct Axis { npy_intp length, size, step, border, count; };
struct Plan { Axis rows, columns; };

inline npy_intp first_of(const Axis& axis, npy_intp window) {
    const npy_intp start = window * axis.step - axis.border;
    return start < 0 ? 0 : start;
}

inline npy_intp end_of(const Axis& axis, npy_intp window) {
    const npy_intp end = window * axis.step - axis.border + axis.size;
    return end < axis.length ? end : axis.length;
}

// Of equals the first is the largest; what is not a number is larger than all others.
template <typename T>
void largest_of_window(const T* x, const Plan& plan, npy_intp r, npy_intp c, T* y, npy_uint8* place) {
    const Axis &rows = plan.rows, &columns = plan.columns;
    const npy_intp top = r * rows.step - rows.border, left = c * columns.step - columns.border;
    const npy_intp bottom = end_of(rows, r), right = end_of(columns, c), width = columns.length;
    const npy_intp start = first_of(columns, c);
    npy_intp i = first_of(rows, r), where = (i - top) * columns.size + start - left;
    T best = x[i * width + start];
    for (; i < bottom; ++i)
        for (npy_intp j = start; j < right; ++j)
            if (x[i * width + j] > best || (x[i * width + j] != x[i * width + j] && best == best)) {
                best = x[i * width + j];
                where = (i - top) * columns.size + j - left;
            }
    *y = best;
    *place = (npy_uint8)where;
}

// The elements of a window from number K on, for a loop that a compiler makes many turns of at once. It does
// so only where all numbers are of one size: places are numbers of the images' type until they are stored.
template <typename T, int SIZE, int K>
struct Further {
    static inline void look(const T* x, npy_intp width, T& best, T& where) {
        const T next = x[(K / SIZE) * width + K % SIZE];
        where = next > best ? T(K) : where;
        best = next > best ? next : best;
        best = next != next ? next : best;
        Further<T, SIZE, K + 1>::look(x, width, best, where);
    }
};
template <typename T> struct Further<T, 2, 4> { static inline void look(const T*, npy_intp, T&, T&) {} };
template <typename T> struct Further<T, 3, 9> { static inline void look(const T*, npy_intp, T&, T&) {} };

template <typename T, int SIZE>
void largest_of_some(const T* __restrict x, npy_intp width, npy_intp count,
                     T* __restrict y, T* __restrict wheres) {
    for (npy_intp c = 0; c < count; ++c) {
        T best = x[2 * c], where = 0;
        Further<T, SIZE, 1>::look(x + 2 * c, width, best, where);
        y[c] = best;
        wheres[c] = where;
    }
}

template <typename From, typename To>
void convert(const From* __restrict from, npy_intp count, To* __restrict to) {
    for (npy_intp k = 0; k < count; ++k) to[k] = (To)(npy_int32)from[k];
}

// Windows of one row of them that lie within the image, two columns from one to the next.
template <typename T, int SIZE>
void largest_of_row(const T* x, npy_intp width, npy_intp count, T* y, npy_uint8* place) {
    T wheres[SOME];
    for (npy_intp c = 0; c < count; c += SOME) {
        const npy_intp some = count - c < SOME ? count - c : SOME;
        largest_of_some<T, SIZE>(x + 2 * c, width, some, y + c, wheres);
        convert(wheres, some, place + c);
    }
}

inline bool pairs(const Axis& axis) { return axis.size == 2 && axis.step == 2 && !axis.border; }

// Short rows are brought together first, so that no register stays half empty.
inline npy_intp rows_together(const Plan& plan) {
    return pairs(plan.rows) && pairs(plan.columns) ? SOME / plan.columns.count : 0;
}

template <typename T>
void largest_of_pairs(const T* x, const Plan& plan, T* y, npy_uint8* place) {
    T elements[4 * SOME], wheres[SOME];
    const npy_intp width = plan.columns.length, count = plan.columns.count, each = rows_together(plan);
    for (npy_intp r = 0; r < plan.rows.count; r += each) {
        const npy_intp rows = plan.rows.count - r < each ? plan.rows.count - r : each;
        for (npy_intp k = 0; k < rows; ++k) {
            const T* const above = x + 2 * (r + k) * width;
            memcpy(elements + 2 * k * count, above, 2 * count * sizeof(T));
            memcpy(elements + 2 * (SOME + k * count), above + width, 2 * count * sizeof(T));
        }
        largest_of_some<T, 2>(elements, 2 * SOME, rows * count, y + r * count, wheres);
        convert(wheres, rows * count, place + r * count);
    }
}

template <typename T>
void largest_of_plane(const T* x, const Plan& plan, T* y, npy_uint8* place) {
    if (rows_together(plan)) return largest_of_pairs(x, plan, y, place);
    const Axis &rows = plan.rows, &columns = plan.columns;
    const npy_intp size = columns.size == rows.size && columns.step == 2 ? columns.size : 0;
    npy_intp inside = 0, stop = 0;
    if (size == 2 || size == 3) {
        inside = (columns.border + 1) / 2;
        stop = (columns.length + columns.border - size) / 2 + 1;
        stop = stop < columns.count ? stop : columns.count;
    }
    for (npy_intp r = 0; r < rows.count; ++r, y += columns.count, place += columns.count) {
        const npy_intp top = r * rows.step - rows.border;
        const bool whole = stop > inside && top >= 0 && top + rows.size <= rows.length;
        const npy_intp from = whole ? inside : columns.count, to = whole ? stop : columns.count;
        for (npy_intp c = 0; c < from; ++c) largest_of_window(x, plan, r, c, y + c, place + c);
        if (whole) {
            const T* const start = x + top * columns.length + from * 2 - columns.border;
            if (size == 2) largest_of_row<T, 2>(start, columns.length, to - from, y + from, place + from);
            else largest_of_row<T, 3>(start, columns.length, to - from, y + from, place + from);
        }
        for (npy_intp c = to; c < columns.count; ++c) largest_of_window(x, plan, r, c, y + c, place + c);
    }
}

template <typename T>
void spread_some(const T* __restrict g, const T* __restrict wheres, npy_intp count,
                 T* __restrict above, T* __restrict below) {
    for (npy_intp c = 0; c < count; ++c) {
        const T value = g[c], where = wheres[c];
        above[2 * c] = where == 0 ? value : T(0);
        above[2 * c + 1] = where == 1 ? value : T(0);
        below[2 * c] = where == 2 ? value : T(0);
        below[2 * c + 1] = where == 3 ? value : T(0);
    }
}

template <typename T>
void spread_pairs(const T* g, const npy_uint8* place, npy_intp count, T* above, T* below) {
    T wheres[SOME];
    for (npy_intp c = 0; c < count; c += SOME) {
        const npy_intp some = count - c < SOME ? count - c : SOME;
        convert(place + c, some, wheres);
        spread_some(g + c, wheres, some, above + 2 * c, below + 2 * c);
    }
}

template <typename T>
void spread_together(const T* g, const npy_uint8* place, const Plan& plan, T* out) {
    T elements[4 * SOME], wheres[SOME];
    const npy_intp width = plan.columns.length, count = plan.columns.count, each = rows_together(plan);
    for (npy_intp r = 0; r < plan.rows.count; r += each) {
        const npy_intp rows = plan.rows.count - r < each ? plan.rows.count - r : each;
        convert(place + r * count, rows * count, wheres);
        spread_some(g + r * count, wheres, rows * count, elements, elements + 2 * SOME);
        for (npy_intp k = 0; k < rows; ++k) {
            T* const above = out + 2 * (r + k) * width;
            memcpy(above, elements + 2 * k * count, 2 * count * sizeof(T));
            memcpy(above + width, elements + 2 * (SOME + k * count), 2 * count * sizeof(T));
        }
    }
}

template <typename T>
void clear(T* x, npy_intp count) { if (count > 0) memset(x, 0, count * sizeof(T)); }

template <typename T>
void largest_backward(const T* g, const npy_uint8* place, const Plan& plan, T* out) {
    const Axis &rows = plan.rows, &columns = plan.columns;
    const npy_intp width = columns.length;
    if (pairs(rows) && pairs(columns)) {
        const npy_intp count = columns.count;
        if (rows_together(plan)) spread_together(g, place, plan, out);
        for (npy_intp r = 0; r < rows.count; ++r, out += 2 * width) {
            if (!rows_together(plan)) spread_pairs(g + r * count, place + r * count, count, out, out + width);
            for (npy_intp c = 2 * count; c < width; ++c) out[c] = out[width + c] = 0;
        }
        clear(out, (rows.length - 2 * rows.count) * width);
        return;
    }
    clear(out, rows.length * width);
    const npy_intp columns_of_window = columns.size;
    for (npy_intp r = 0; r < rows.count; ++r)
        for (npy_intp c = 0; c < columns.count; ++c, ++g, ++place) {
            const npy_intp i = r * rows.step - rows.border + *place / columns_of_window;
            const npy_intp j = c * columns.step - columns.border + *place % columns_of_window;
            out[i * width + j] += *g;
        }
}

template <typename T>
void mean_of_plane(const T* __restrict x, const Plan& plan, T* __restrict y) {
    const Axis &rows = plan.rows, &columns = plan.columns;
    const npy_intp width = columns.length;
    for (npy_intp r = 0; r < rows.count; ++r, y += columns.count) {
        if (pairs(rows) && pairs(columns)) {
            const T *const above = x + 2 * r * width, *const below = above + width;
            for (npy_intp c = 0; c < columns.count; ++c)
                y[c] = ((above[2 * c] + above[2 * c + 1]) + (below[2 * c] + below[2 * c + 1])) * T(0.25);
            continue;
        }
        const npy_intp top = first_of(rows, r), bottom = end_of(rows, r);
        for (npy_intp c = 0; c < columns.count; ++c) {
            const npy_intp left = first_of(columns, c), right = end_of(columns, c);
            double sum = 0;
            for (npy_intp i = top; i < bottom; ++i)
                for (npy_intp j = left; j < right; ++j) sum += x[i * width + j];
            y[c] = (T)(sum / double((bottom - top) * (right - left)));
        }
    }
}

template <typename T>
void mean_backward(const T* __restrict g, const Plan& plan, T* __restrict out) {
    const Axis &rows = plan.rows, &columns = plan.columns;
    const npy_intp width = columns.length;
    clear(out, rows.length * width);
    for (npy_intp r = 0; r < rows.count; ++r, g += columns.count) {
        if (pairs(rows) && pairs(columns)) {
            T *const above = out + 2 * r * width, *const below = above + width;
            for (npy_intp c = 0; c < columns.count; ++c)
                above[2 * c] = above[2 * c + 1] = below[2 * c] = below[2 * c + 1] = g[c] * T(0.25);
            continue;
        }
        const npy_intp top = first_of(rows, r), bottom = end_of(rows, r);
        for (npy_intp c = 0; c < columns.count; ++c) {
            const npy_intp left = first_of(columns, c), right = end_of(columns, c);
            const T share = g[c] / T((bottom - top) * (right - left));
            for (npy_intp i = top; i < bottom; ++i)
                for (npy_intp j = left; j < right; ++j) out[i * width + j] += share;
        }
    }
}

template <typename T>
void pool(npy_int64 mode, bool backward, const Plan& plan, npy_intp planes,
          void* from, void* to, npy_uint8* place) {
    const npy_intp inner = plan.rows.length * plan.columns.length;
    const npy_intp outer = plan.rows.count * plan.columns.count;
    const npy_intp each = inner < PIECE ? PIECE / inner : 1, pieces = (planes + each - 1) / each;
    const auto piece = [=, &plan](uint32_t k) {
        const npy_intp end = (k + 1) * each < planes ? (k + 1) * each : planes;
        for (npy_intp plane = k * each; plane < end; ++plane) {
            const T* const given = (const T*)from + plane * (backward ? outer : inner);
            T* const found = (T*)to + plane * (backward ? inner : outer);
            if (mode == 1 && backward) mean_backward(given, plan, found);
            else if (mode == 1) mean_of_plane(given, plan, found);
            else if (backward) largest_backward(given, place + plane * outer, plan, found);
            else largest_of_plane(given, plan, found, place + plane * outer);
        }
    };
    trainer::parallel_for((uint32_t)pieces, piece);
}

PyArrayObject* array_in(PyObject* cells, Py_ssize_t place) {
    return (PyArrayObject*)PyArray_FROM_OF(
        PyList_GET_ITEM(PyTuple_GET_ITEM(cells, place), 0), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED);
}

Axis axis_of(const npy_int64* numbers) {
    const Axis axis = {numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    return axis;
}

bool fits(PyArrayObject* array, npy_intp rows, npy_intp columns) {
    const npy_intp* const shape = PyArray_DIMS(array);
    if (shape[2] == rows && shape[3] == columns) return true;
    PyErr_Format(PyExc_ValueError, "pooling: images of %zd x %zd are wanted, not of %zd x %zd",
        (Py_ssize_t)rows, (Py_ssize_t)columns, (Py_ssize_t)shape[2], (Py_ssize_t)shape[3]);
    return false;
}

// The numbers: the mode, whether backward, then the axes of rows and columns.
int run_plan(PyObject* in, PyObject* out, const npy_int64* numbers) {
    const npy_int64 mode = numbers[0];
    const bool backward = numbers[1] != 0;
    Plan plan;
    plan.rows = axis_of(numbers + 2);
    plan.columns = axis_of(numbers + 7);
    PyArrayObject* const given = array_in(in, 0);
    PyArrayObject* const kept = given && mode == 0 && backward ? array_in(in, 1) : NULL;
    PyArrayObject *result = NULL, *place = kept;
    const npy_intp rows = backward ? plan.rows.count : plan.rows.length;
    const npy_intp columns = backward ? plan.columns.count : plan.columns.length;
    if (given && !PyErr_Occurred() && fits(given, rows, columns) && (!kept || fits(kept, rows, columns))) {
        npy_intp shape[4] = {PyArray_DIMS(given)[0], PyArray_DIMS(given)[1],
            backward ? plan.rows.length : plan.rows.count,
            backward ? plan.columns.length : plan.columns.count};
        result = array_out(PyTuple_GET_ITEM(out, 0), 4, shape, PyArray_TYPE(given), false);
        if (result && mode == 0 && !backward)
            place = array_out(PyTuple_GET_ITEM(out, 1), 4, shape, NPY_UINT8, false);
    }
    const bool ready = result && (mode == 1 || place);
    if (ready) {
        const npy_intp planes = PyArray_DIMS(given)[0] * PyArray_DIMS(given)[1];
        npy_uint8* const places = place ? (npy_uint8*)PyArray_DATA(place) : NULL;
        void *const from = PyArray_DATA(given), *const to = PyArray_DATA(result);
        if (PyArray_TYPE(given) == NPY_FLOAT) pool<npy_float>(mode, backward, plan, planes, from, to, places);
        else pool<npy_double>(mode, backward, plan, planes, from, to, places);
    }
    Py_XDECREF(given);
    Py_XDECREF(kept);
    return ready ? 0 : -1;
}

}  // namespace
"""
