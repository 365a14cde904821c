"""The C of a matrix product that passes over the zeros of its left factor.

Pictures have dark places, rectified units are often still, and dropout stills more: where most of the left
factor is zero, its other elements are gathered row by row, each with the place of the row of the right
factor that it is multiplied with. That factor is packed in panels, of which a block of terms stays in the
first cache. Each element of the result is the sum of the same terms in the same order as without, zeros
apart, and so has the same bits; but a zero adds nothing even where it would meet an infinity or what is not
a number.
"""

from __future__ import annotations

ZEROS = """
namespace {

// Bytes of a panel's block that stay in the first cache, vectors of a panel, and numbers of a group of rows
// that stay in the second.
enum { FIRST = 36864, BROAD = 10, SECOND = 100000 };
// Narrower results, and fewer terms, are not worth the gathering.
enum { NARROW = 3 * LANES, SHORT = 64, SAMPLES = 16 };

// The share of the left factor that is not zero, by some blocks of it.
double filled(const Factor& left, int64_t rows, int64_t terms) {
    const bool turned = left.right != 1;
    const int64_t lines = turned ? terms : rows, length = turned ? rows : terms;
    const int64_t step = turned ? left.right : left.down;
    if (lines < LANES || length < LANES) return 1;
    int count = 0;
    for (int64_t s = 0; s < SAMPLES; ++s) {
        const Real* const at = left.at + (lines - LANES) * (s * 7 % SAMPLES) / (SAMPLES - 1) * step
                             + (length - LANES) * s / (SAMPLES - 1);
        for (int i = 0; i < LANES; ++i)
            for (int e = 0; e < LANES; ++e) count += at[i * step + e] != 0;
    }
    return (double)count / (SAMPLES * LANES * LANES);
}

// GCC's own names, since the header with the common ones takes half a second to compile.
#if defined(__AVX512F__) && !defined(__clang__)
#define COMPRESSES
typedef Integer Places __attribute__((vector_size(BYTES), may_alias));
typedef Integer LoosePlaces __attribute__((vector_size(BYTES), aligned(sizeof(Integer)), may_alias));
enum { NOT_EQUAL = 4, AS_SET = 4 };  // or not a number; the rounding that is set

inline Vector some(const Real* from, int width) {
    return __builtin_ia32_loadups512_mask(from, Vector{}, (unsigned short)((1u << width) - 1));
}
#else
inline Vector some(const Real* from, int width) { return part(from, width); }
#endif

// The numbers of a part of a line that are not zero, and the place of each, of which the first is at `place`
// and the next ones `step` on; both have room for a vector more.
inline int gathered(const Real* line, int width, int32_t place, int32_t step, Real* values, int32_t* places) {
#if defined(COMPRESSES)
    const Vector found = some(line, width);
    const unsigned short full = __builtin_ia32_cmpps512_mask(found, Vector{}, NOT_EQUAL, 0xffff, AS_SET);
    if (!full) return 0;
    const Places order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    store(values, __builtin_ia32_compresssf512_mask(found, Vector{}, full));
    *(LoosePlaces*)places = __builtin_ia32_compresssi512_mask(place + order * step, Places{}, full);
    return __builtin_popcount(full);
#else
    int full = 0, count = 0;
    for (int e = 0; e < width; ++e) full |= line[e] != 0;
    for (int e = 0; full && e < width; ++e) {
        values[count] = line[e];
        places[count] = place + e * step;
        count += line[e] != 0;
    }
    return count;
#endif
}

// One row's part of a block: `count` numbers, and where in the panel the row of each is, in bytes.
template <int N>
inline __attribute__((always_inline)) void add_row(const Real* values, const int32_t* places, int count,
                                                   const Real* panel, Real* out, bool adds) {
    Vector sum[N];
    #pragma GCC unroll 16
    for (int n = 0; n < N; ++n) sum[n] = adds ? load(out + n * LANES) : Vector{};
    for (int k = 0; k < count; ++k) {
        const Real* const row = (const Real*)((const char*)panel + places[k]);
        const Real factor = values[k];
        #pragma GCC unroll 16
        for (int n = 0; n < N; ++n) sum[n] += load(row + n * LANES) * factor;
    }
    #pragma GCC unroll 16
    for (int n = 0; n < N; ++n) store(out + n * LANES, sum[n]);
}

// The rows of a tile; `room` is from one row's numbers to the next one's.
template <int N>
void add_rows(const Real* values, const int32_t* places, const int32_t* counts, int64_t room, int height,
              const Real* panel, Real* out, int64_t down, bool adds) {
    for (int r = 0; r < height; ++r, values += room, places += room, out += down) {
        #pragma GCC unroll 16
        for (int n = 0; n < N; ++n) __builtin_prefetch(out + down + n * LANES, 1);
        add_row<N>(values, places, counts[r], panel, out, adds);
    }
}

typedef void (*AddRows)(const Real*, const int32_t*, const int32_t*, int64_t, int, const Real*, Real*,
                        int64_t, bool);

AddRows add_rows_of(int64_t vectors) {
    switch (vectors) {
        case 1: return add_rows<1>;
        case 2: return add_rows<2>;
        case 3: return add_rows<3>;
        case 4: return add_rows<4>;
        case 5: return add_rows<5>;
        case 6: return add_rows<6>;
        case 7: return add_rows<7>;
        case 8: return add_rows<8>;
        case 9: return add_rows<9>;
        default: return add_rows<BROAD>;
    }
}

// So many vectors make a panel that the last one is not narrow; each number costs two more to load.
int64_t broad(int64_t columns) {
    const int64_t vectors = (columns + LANES - 1) / LANES;
    int64_t best = 1, cost = vectors * 3;
    for (int64_t n = 2; n <= BROAD; ++n) {
        const int64_t found = (vectors + n - 1) / n * (n + 2);
        if (found <= cost) { best = n; cost = found; }
    }
    return best;
}

Desk kept = {NULL, 0};                      // the numbers that are not zero
thread_local Desk aside = {NULL, 0};        // rows that cannot be summed up where they belong

// How much is packed, gathered and summed up at a time.
struct Cut {
    int64_t longest;       // terms
    int64_t wide, few;     // columns of a panel, panels
    int64_t block, line;   // terms of a block, numbers that all blocks of a row have room for
    int64_t some, rows;    // tiles, and their rows at most
    int64_t group;         // tiles whose numbers stay in the second cache
    Cut(const Work& work, const Tiles& tiles, double share) {
        longest = least(work.terms, NEAR);
        wide = broad(work.columns) * LANES;
        few = most(1, least((work.columns + wide - 1) / wide, ROOM / (longest * wide)));
        const int64_t fit = FIRST / (wide * (int64_t)sizeof(Real)), blocks = (longest + fit - 1) / fit;
        block = ((longest + blocks - 1) / blocks + 3) / 4 * 4;
        line = blocks * room();
        some = most(1, least(tiles.count, ROOM / (line * TALL)));
        rows = least(work.rows, some * TALL);
        group = most(1, (int64_t)(SECOND / (longest * share * TALL)));
    }
    int64_t room() const { return block + LANES; }
};

// A part of the terms, of some panels and some tiles.
struct Gathering {
    const Work& work;
    const Tiles& tiles;
    const Cut& cut;
    int64_t start, terms, panel, tile;
    Real *columns, *values;
    int32_t *places, *counts;

    int64_t blocks() const { return (terms + cut.block - 1) / cut.block; }
    // The first of a tile's lists of a block; a list is a row's numbers.
    int64_t lists(int64_t k, int64_t block) const {
        return (tiles.first(k) - tiles.first(tile)) * blocks() + block * tiles.height(k);
    }
    const Real* block_of(int64_t k, int64_t block) const {
        return columns + ((k - panel) * terms + block * cut.block) * cut.wide;
    }
    void pack_panel(int64_t k) const {
        const Factor& right = work.right;
        const int64_t column = k * cut.wide;
        pack(right.at + column * right.right + start * right.down, right.right, right.down,
             (int)least(work.columns - column, cut.wide), (int)cut.wide, terms,
             columns + (k - panel) * terms * cut.wide);
    }
    void gather_tile(int64_t k) const {
        const int height = tiles.height(k);
        const int32_t step = (int32_t)(cut.wide * sizeof(Real));
        for (int64_t b = 0; b < blocks(); ++b) {
            const int64_t list = lists(k, b), first = b * cut.block, last = least(terms, first + cut.block);
            int32_t found[TALL] = {};
            for (int64_t t = first; t < last; t += LANES) {
                const int width = (int)least(last - t, LANES);
                alignas(BYTES) Real straight[TALL][LANES];
                const Real* const from = lines(k, t, width, straight);
                const int64_t apart = from == straight[0] ? LANES : work.left.down;
                for (int r = 0; r < height; ++r) {
                    const int64_t at = (list + r) * cut.room() + found[r];
                    found[r] += gathered(from + r * apart, width, (int32_t)(t - first) * step, step,
                                         values + at, places + at);
                }
            }
            memcpy(counts + list, found, height * sizeof(int32_t));
        }
    }
    // Some terms of a tile, each row's side by side: where they lie, or turned.
    const Real* lines(int64_t k, int64_t t, int width, Real (&straight)[TALL][LANES]) const {
        const Factor& left = work.left;
        const Real* const at = left.at + tiles.first(k) * left.down + (start + t) * left.right;
        if (left.right == 1) return at;
        for (int row = 0, height = tiles.height(k); row < height; row += LANES) {
            const int used = (int)least(height - row, LANES);
            Vector v[LANES];
            #pragma GCC unroll 16
            for (int i = 0; i < LANES; ++i)
                v[i] = i < width ? some(at + i * left.right + row, used) : Vector{};
            turn(v);
            memcpy(straight[row], v, sizeof v);
        }
        return straight[0];
    }
    // A panel's part of some tiles, block by block.
    bool compute(int64_t k, int64_t begin, int64_t end) const {
        const int64_t column = k * cut.wide, used = least(work.columns - column, cut.wide);
        const int64_t vectors = (used + LANES - 1) / LANES, top = tiles.first(begin);
        const bool there = !start && used == vectors * LANES;
        const int64_t down = there ? work.columns : vectors * LANES;
        Real* const out = there ? work.out + top * down + column
                                : aside.of((tiles.first(end) - top) * down + LANES);
        const AddRows add = add_rows_of(vectors);
        for (int64_t b = 0; out && b < blocks(); ++b)
            for (int64_t of = begin; of < end; ++of) {
                const int64_t list = lists(of, b), at = list * cut.room();
                add(values + at, places + at, counts + list, cut.room(), tiles.height(of), block_of(k, b),
                    out + (tiles.first(of) - top) * down, down, b > 0);
            }
        for (int64_t of = begin; out && of < end; ++of) {
            const int64_t row = tiles.first(of);
            if (!there) move(out + (row - top) * down, down, of, column, used);
            if (work.finish && start + terms == work.terms)
                work.finish(work, of, row, tiles.height(of), column, (int)used);
        }
        return out != NULL;
    }
    void move(const Real* from, int64_t down, int64_t of, int64_t column, int64_t used) const {
        for (int64_t row = tiles.first(of); row < tiles.first(of + 1); ++row, from += down) {
            Real* const to = work.out + row * work.columns + column;
            if (start) for (int64_t c = 0; c < used; ++c) to[c] += from[c];
            else memcpy(to, from, used * sizeof(Real));
        }
    }
};

bool multiply_gathered(const Work& work, const Tiles& tiles, double share, int64_t threads) {
    const Cut cut(work, tiles, share);
    const int64_t panels = (work.columns + cut.wide - 1) / cut.wide, numbers = cut.rows * cut.line;
    Real* const columns = packed.of(cut.longest * cut.few * cut.wide + LANES);
    Real* const values = kept.of(2 * numbers + cut.rows * (cut.line / cut.room()) + LANES);
    if (!columns || !values) return false;
    int32_t* const places = (int32_t*)(values + numbers);
    bool failed = false;
    for (int64_t start = 0; start < work.terms; start += NEAR)
    for (int64_t panel = 0; panel < panels; panel += cut.few)
    for (int64_t first = 0; first < tiles.count; first += cut.some) {
        const int64_t terms = least(work.terms - start, NEAR), beside = least(panels - panel, cut.few);
        const int64_t high = least(tiles.count - first, cut.some);
        const int64_t fair = threads > 1 ? most(1, high * beside / (8 * threads)) : high;
        const int64_t group = least(cut.group, fair), groups = (high + group - 1) / group;
        const Gathering pass = {work, tiles, cut, start, terms, panel, first, columns, values, places,
                                places + numbers};
        // The panels that the rows before had are there.
        const int64_t ready = first ? beside : 0;
        share_out(threads, beside - ready + high, [&](uint32_t k) {
            const int64_t at = k + ready;
            if (at < beside) pass.pack_panel(panel + at);
            else pass.gather_tile(first + at - beside);
        });
        share_out(threads, groups * beside, [&](uint32_t k) {
            const int64_t number = k / beside;
            if (!pass.compute(panel + k % beside, first + high * number / groups,
                              first + high * (number + 1) / groups)) failed = true;
        });
    }
    return !failed;
}

}  // namespace
"""
