"""The C of a tile, the small product in registers of `convolution_code`, and of turning it about."""

from __future__ import annotations

from trainer.kernels.vectors import VECTORS

TILES = (
    VECTORS
    + """
namespace {

struct Product {
    const Real* factors;   // the images
    const int32_t* rows;   // offsets of the rows in them
    const int32_t* terms;  // offsets of the inner terms in them
    int64_t count;         // of inner terms
    const Real* columns;   // (count, columns)
    Real* out;             // (rows, columns), at the rows that `places` says, if it does
    const int32_t* places;
    bool adds;
};

template <int M, int N>
void tile(const Product& p, int64_t first) {
    const Real* row[M];
    Real* out[M];
    Vector sum[M][N];
    #pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
        row[m] = p.factors + p.rows[first + m];
        out[m] = p.out + (p.places ? (int64_t)p.places[first + m] : first + m) * (N * LANES);
        #pragma GCC unroll 2
        for (int n = 0; n < N; ++n) sum[m][n] = p.adds ? load(out[m] + n * LANES) : Vector{};
    }
    const Real* columns = p.columns;
    for (int64_t t = 0; t < p.count; ++t, columns += N * LANES) {
        const int64_t at = p.terms[t];
        Vector column[N];
        #pragma GCC unroll 2
        for (int n = 0; n < N; ++n) column[n] = load(columns + n * LANES);
        #pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
            const Real factor = row[m][at];
            #pragma GCC unroll 2
            for (int n = 0; n < N; ++n) sum[m][n] += column[n] * factor;
        }
    }
    #pragma GCC unroll 16
    for (int m = 0; m < M; ++m)
        #pragma GCC unroll 2
        for (int n = 0; n < N; ++n) store(out[m] + n * LANES, sum[m][n]);
}

template <int N>
void tile_of(int size, const Product& p, int64_t first) {
    switch (size) {
        case 1: return tile<1, N>(p, first);
        case 2: return tile<2, N>(p, first);
        case 3: return tile<3, N>(p, first);
        case 4: return tile<4, N>(p, first);
        case 5: return tile<5, N>(p, first);
        case 6: return tile<6, N>(p, first);
#if defined(__AVX512F__) || defined(__aarch64__)
        case 7: return tile<7, N>(p, first);
        case 8: return tile<8, N>(p, first);
        case 9: return tile<9, N>(p, first);
        case 10: return tile<10, N>(p, first);
        case 11: return tile<11, N>(p, first);
        case 12: return tile<12, N>(p, first);
        case 13: return tile<13, N>(p, first);
        case 14: return tile<14, N>(p, first);
#endif
    }
}

// The rows in tiles of nearly one size.
void multiply(const Product& p, int64_t rows, int vectors) {
    const int64_t tiles = (rows + MOST - 1) / MOST;
    for (int64_t k = 0; k < tiles; ++k) {
        const int64_t first = rows * k / tiles, size = rows * (k + 1) / tiles - first;
        if (vectors == 2) tile_of<2>((int)size, p, first);
        else tile_of<1>((int)size, p, first);
    }
}

// (rows, columns) → (columns, rows). `read` gives a vector by row, first column and how many columns there
// are; `change` sees each vector of the result. With FILLS, zeros fill up its rows to whole vectors.
template <bool FILLS, class Read, class Change>
void transpose(
        int64_t rows, int64_t columns, const Read& read, Real* out, int64_t step, const Change& change) {
    for (int64_t r = 0; r < rows; r += LANES) {
        const int height = (int)(rows - r < LANES ? rows - r : LANES);
        for (int64_t c = 0; c < columns; c += LANES) {
            const int width = (int)(columns - c < LANES ? columns - c : LANES);
            Vector v[LANES];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i) v[i] = i < height ? read(r + i, c, width) : Vector{};
            turn(v);
            if (width == LANES && (FILLS || height == LANES)) {
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) store(out + (c + i) * step + r, change(c + i, v[i]));
            } else {
                Vector kept[LANES];
                #pragma GCC unroll 16
                for (int i = 0; i < LANES; ++i) kept[i] = v[i];
                for (int i = 0; i < width; ++i) {
                    const Vector changed = change(c + i, kept[i]);
                    if (FILLS) store(out + (c + i) * step + r, changed);
                    else memcpy(out + (c + i) * step + r, &changed, height * sizeof(Real));
                }
            }
        }
    }
}

}  // namespace
"""
)
