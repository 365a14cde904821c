"""The C of a matrix product's tiles: factors packed side by side, and what is summed up in registers."""

from __future__ import annotations

from trainer.kernels.vectors import VECTORS

TILES = (
    VECTORS
    + """
namespace {

enum { TALL = (MOST + LANES - 1) / LANES * LANES, WIDE = 2 * LANES, AHEAD = 24 };

// Lays `used` lines of a factor side by side, `wide` numbers a term. Up to two vectors a term are written.
void pack(const Real* from, int64_t across, int64_t along, int used, int wide, int64_t terms, Real* out) {
    if (across == 1) {
        // Whole vectors, as long as they do not reach beyond the last term.
        const int64_t whole = wide <= used ? terms : terms - 1 - (wide - used) / along;
        int64_t t = 0;
        for (; t < whole; ++t) {
            for (int k = 0; k < wide; k += LANES) {
                __builtin_prefetch(from + (t + AHEAD) * along + k);
                store(out + t * wide + k, load(from + t * along + k));
            }
        }
        for (; t < terms; ++t) {
            memset(out + t * wide, 0, wide * sizeof(Real));
            memcpy(out + t * wide, from + t * along, used * sizeof(Real));
        }
        return;
    }
    for (int first = 0; first < used; first += LANES) {
        const int height = used - first < LANES ? used - first : LANES;
        for (int64_t t = 0; t < terms; t += LANES) {
            const int width = (int)(terms - t < LANES ? terms - t : LANES);
            const Real* const at = from + first * across + t;
            Vector v[LANES];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) v[i] = i < height ? part(at + i * across, width) : Vector{};
            turn(v);
            Real* const to = out + t * wide + first;
            if (width == LANES) {
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) store(to + i * wide, v[i]);
            } else {
                Vector kept[LANES];
                memcpy(kept, v, sizeof kept);
                for (int i = 0; i < width; ++i) store(to + i * wide, kept[i]);
            }
        }
    }
}

// Where the factors of a term are: side by side, or `step` apart, found from every fifth row.
template <bool SIDE>
struct Rows {
    const Real* at;
    int64_t step;
    Rows(const Real* left, int64_t step) : at(left), step(step) {}
    Real operator[](int m) const { return at[m]; }
    void next() { at += step; }
};
template <>
struct Rows<false> {
    const Real *first, *fifth, *tenth;
    int64_t step, thrice;
    Rows(const Real* left, int64_t step)
        : first(left), fifth(left + 5 * step), tenth(left + 10 * step), step(step), thrice(3 * step) {}
    Real operator[](int m) const {
        const Real* const at = m < 5 ? first : m < 10 ? fifth : tenth;
        return m % 5 == 3 ? at[thrice] : at[m % 5 * step];
    }
    void next() { ++first; ++fifth; ++tenth; }
};

template <int M, int N, bool SIDE>
void tile(const Real* left, int64_t step, const Real* right, int64_t terms,
          Real* out, int64_t down, int used, bool adds) {
    Vector sum[M][N];
    #pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
        #pragma GCC unroll 2
        for (int n = 0; n < N; ++n) sum[m][n] = Vector{};
        __builtin_prefetch(out + m * down, 1);
        __builtin_prefetch(out + m * down + N * LANES - 1, 1);
    }
    Rows<SIDE> row(left, step);
    for (int64_t t = 0; t < terms; ++t, row.next(), right += N * LANES) {
        Vector column[N];
        #pragma GCC unroll 2
        for (int n = 0; n < N; ++n) column[n] = load(right + n * LANES);
        #pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const Real factor = row[m];
            #pragma GCC unroll 2
            for (int n = 0; n < N; ++n) sum[m][n] += column[n] * factor;
        }
    }
    if (used == N * LANES && !adds) {
        #pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
            #pragma GCC unroll 2
            for (int n = 0; n < N; ++n) store(out + m * down + n * LANES, sum[m][n]);
        return;
    }
    Vector kept[M][N];
    memcpy(kept, sum, sizeof kept);
    for (int m = 0; m < M; ++m) {
        const Real* const from = (const Real*)kept[m];
        Real* const to = out + m * down;
        if (adds) for (int c = 0; c < used; ++c) to[c] += from[c];
        else memcpy(to, from, used * sizeof(Real));
    }
}

typedef void (*Tile)(const Real*, int64_t, const Real*, int64_t, Real*, int64_t, int, bool);

template <int N>
Tile tile_of(int height) {
    switch (height) {
        case 1: return tile<1, N, true>;
        case 2: return tile<2, N, true>;
        case 4: return tile<4, N, true>;
#if defined(__AVX512F__) || defined(__aarch64__)
        case 8: return tile<8, N, true>;
        case 12: return tile<12, N, true>;
        case 13: return tile<13, N, true>;
        default: return tile<14, N, true>;
#else
        case 3: return tile<3, N, true>;
        case 5: return tile<5, N, true>;
        default: return tile<6, N, true>;
#endif
    }
}

// For rows that are read where they lie: tiles of nearly one size alone.
template <int N>
Tile high_tile(int height) {
#if defined(__AVX512F__)
    return height == 12 ? tile<12, N, false> : height == 13 ? tile<13, N, false> : tile<14, N, false>;
#else
    return NULL;
#endif
}

}  // namespace
"""
)
