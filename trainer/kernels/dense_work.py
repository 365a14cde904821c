"""The C of what a matrix product has to do: its factors, its result in tiles, and how threads share it."""

from __future__ import annotations

from trainer.kernels.dense_tiles import TILES

WORK = (
    TILES
    + """
namespace {

// Numbers that are packed for all threads at a time; multiplications that are worth waking a thread for.
enum { ROOM = 2000000, LEAST = 2000000 };

// Element (r, c) is at[r * down + c * right], and one of the steps is 1.
struct Factor { const Real* at; int64_t down, right; };

struct Work;
// What becomes of a tile once its sums are whole: of `height` rows from `row`, `used` columns from `column`.
typedef void (*Finish)(const Work& work, int64_t tile, int64_t row, int height, int64_t column, int used);

struct Work {
    Factor left, right;
    int64_t rows, columns, terms;
    Real* out;
    Finish finish;        // or NULL
    const Real* beside;   // the bias, or the activation's values
    Real scale;           // of the slopes
    Real* sums;           // (tiles, columns)
};

// The rows in tiles of nearly one size, if there are tiles of that size; else as high as can be.
struct Tiles {
    int64_t rows, even, count;
    explicit Tiles(int64_t rows) : rows(rows), even(0), count(0) {
        const int64_t least = (rows + MOST - 1) / MOST;
        if (rows >= least * (MOST > 6 ? 12 : 1)) even = count = least;
        else while (first(count) < rows) ++count;
    }
    int64_t first(int64_t tile) const {
        if (even) return rows * tile / even;
        const int64_t whole = rows / MOST;
        if (tile <= whole) return tile * MOST;
        int64_t row = whole * MOST;
        for (; tile > whole && row < rows; --tile) {
            int64_t height = 12;
            while (height > rows - row) height = height == 12 ? 8 : height / 2;
            row += height;
        }
        return row;
    }
    int height(int64_t tile) const { return (int)(first(tile + 1) - first(tile)); }
};

// What is packed for all threads.
Desk packed = {NULL, 0};

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a < b ? b : a; }

template <class Body>
void share_out(int64_t threads, int64_t count, const Body& body) {
    if (threads > 1) trainer::parallel_for((uint32_t)count, body);
    else for (int64_t k = 0; k < count; ++k) body((uint32_t)k);
}

}  // namespace
"""
)
