"""The C of vectors as wide as the processor's registers, for the kernels that multiply matrices.

The text wants `Real` and `Integer`, of the same size, to be defined.
"""

from __future__ import annotations

VECTORS = """
namespace {

#if defined(__AVX512F__)
enum { BYTES = 64, MOST = 14 };  // 28 sums, 2 vectors of columns and a factor: 31 of 32 registers
#elif defined(__AVX__)
enum { BYTES = 32, MOST = 6 };
#elif defined(__aarch64__)
enum { BYTES = 16, MOST = 14 };
#else
enum { BYTES = 16, MOST = 6 };
#endif
// So many rows of columns stay in the second cache.
enum { LANES = BYTES / sizeof(Real), NEAR = 1024 };

typedef Real Vector __attribute__((vector_size(BYTES), may_alias));
typedef Real Loose __attribute__((vector_size(BYTES), aligned(sizeof(Real)), may_alias));

inline Vector load(const Real* from) { return *(const Loose*)from; }
inline void store(Real* to, Vector value) { *(Loose*)to = value; }

inline Vector part(const Real* from, int width) {
    if (width == LANES) return load(from);
    Vector value = {};
    memcpy(&value, from, width * sizeof(Real));
    return value;
}

// Which numbers of two vectors interleave to both new ones, in runs of S. GCC loads a table; what a loop
// fills it would build anew, number by number, at each use.
template <int S>
struct Order {
    alignas(BYTES) Integer low[LANES];
    alignas(BYTES) Integer high[LANES];
    constexpr Order() : low(), high() {
        for (int e = 0; e < LANES; ++e) {
            low[e] = e & S ? LANES + e - S : e;
            high[e] = e & S ? LANES + e : e + S;
        }
    }
};

template <int S>
struct Turning {
    static inline void turn(Vector* v) {
        static constexpr Order<S> order;
        #pragma GCC unroll 16
        for (int i = 0; i < LANES; ++i) {
            if (i & S) continue;
            const Vector a = v[i], b = v[i + S];
#if defined(__clang__)
            for (int e = 0; e < LANES; ++e) {
                v[i][e] = order.low[e] < LANES ? a[order.low[e]] : b[order.low[e] - LANES];
                v[i + S][e] = order.high[e] < LANES ? a[order.high[e]] : b[order.high[e] - LANES];
            }
#else
            typedef Integer Mask __attribute__((vector_size(BYTES), may_alias));
            v[i] = __builtin_shuffle(a, b, *(const Mask*)order.low);
            v[i + S] = __builtin_shuffle(a, b, *(const Mask*)order.high);
#endif
        }
        Turning<S * 2>::turn(v);
    }
};
template <>
struct Turning<LANES> { static inline void turn(Vector*) {} };

// Rows become columns, in a square as wide as a vector.
inline void turn(Vector (&v)[LANES]) { Turning<1>::turn(v); }

// A thread's own, kept from piece to piece.
struct Desk {
    Real* at;
    int64_t count;
    ~Desk() { free(at); }
    Real* of(int64_t wanted) {
        if (wanted > count) {
            free(at);
            count = posix_memalign((void**)&at, 64, wanted * sizeof(Real)) ? 0 : wanted;
            if (!count) at = NULL;
        }
        return at;
    }
};
}  // namespace
"""
