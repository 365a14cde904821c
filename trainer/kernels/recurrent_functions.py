"""The C of a recurrent step's functions: a vector of sums at a time, in registers.

For float32 exp(x) - 1 is 2ⁿ · (exp(r) - 1) + (2ⁿ - 1) with x = n · log 2 + r, and a polynomial for r: at most
1 unit in the last place off, tanh and the logistic function at most 3. For float64 it is the C library's.
"""

from __future__ import annotations

_SINGLE = """
namespace {

// Beyond these, 1 + exp(x) is exp(x) or 1, and its inverse is still no denormal number.
inline Vector exp_minus_1(Vector x) {
    x = x > all(87.0f) ? all(87.0f) : x;
    x = x < all(-87.0f) ? all(-87.0f) : x;
    const Vector n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    const Vector tail = 0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f
        + r * (8.33333333e-3f + r * (1.38888889e-3f + r * 1.98412698e-4f))));
    typedef int32_t Whole __attribute__((vector_size(BYTES)));
    const Vector power = (Vector)((__builtin_convertvector(n, Whole) + 127) << 23);
    return power * (r + r * r * tail) + (power - 1.0f);
}

}  // namespace
"""

_DOUBLE = """
namespace {

inline Vector exp_minus_1(Vector x) {
    for (int k = 0; k < LANES; ++k) x[k] = expm1(x[k]);
    return x;
}

}  // namespace
"""

_ALL = """
namespace {

inline Vector all(Real value) { return Vector{} + value; }

}  // namespace
"""

_REST = """
namespace {

inline Vector sigmoid(Vector x) { return all(1) / (exp_minus_1(-x) + Real(2)); }

inline Vector tanh_of(Vector x) {
    const Vector size = x < Vector{} ? -x : x, most = all(40);
    const Vector grown = exp_minus_1((size > most ? most : size) * Real(2));
    const Vector found = grown / (grown + Real(2));
    return x < Vector{} ? -found : found;
}

// In the order of `trainer.kernels.cells.ACTIVATIONS`.
enum { TANH, SIGMOID, RELU, LEAKY_RELU, LINEAR, SOFTPLUS, ELU };

inline Vector phi(int64_t function, Vector x) {
    switch (function) {
        case TANH: return tanh_of(x);
        case SIGMOID: return sigmoid(x);
        case RELU: return x < Vector{} ? Vector{} : x;
        case LEAKY_RELU: return x < Vector{} ? x * Real(0.01) : x;
        case ELU: return x > Vector{} ? x : exp_minus_1(x > Vector{} ? Vector{} : x);
        case SOFTPLUS:
            for (int k = 0; k < LANES; ++k)
                x[k] = (x[k] > 0 ? x[k] : Real(0)) + log1p(exp(x[k] > 0 ? -x[k] : x[k]));
    }
    return x;
}

// The slope of phi by its value.
inline Vector slope(int64_t function, Vector y) {
    switch (function) {
        case TANH: return Real(1) - y * y;
        case SIGMOID: return y * (Real(1) - y);
        case RELU: return y > Vector{} ? all(1) : Vector{};
        case LEAKY_RELU: return y > Vector{} ? all(1) : all(Real(0.01));
        case ELU: return y > Vector{} ? all(1) : y + Real(1);
        case SOFTPLUS: return -exp_minus_1(-y);
    }
    return all(1);
}

}  // namespace
"""


def text_for(dtype: str) -> str:
    """Give the C for float32 or float64; before it come the tiles, which say what a vector is."""
    return _ALL + (_DOUBLE if dtype == "float64" else _SINGLE) + _REST
