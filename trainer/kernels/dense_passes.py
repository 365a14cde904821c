"""The C of a matrix product that multiplies everything: panels and tiles.

A panel is two vectors of columns of the right factor, a tile a few rows of the left one. Panels lie packed,
term after term; the sums of a tile stay in registers over up to `NEAR` terms. There are three ways:

- near: the left factor is small. It is read where it lies, and each thread packs the panels that it takes.
- far: tiles are packed too, for all threads, and taken so many at a time that they stay in the second cache.
- flat: with few terms, writing the result takes the time. It is written tile by tile through all panels.

Each element is the sum of its terms in their order, whoever adds them up in whichever way.
"""

from __future__ import annotations

from trainer.kernels.dense_work import WORK

PASSES = (
    WORK
    + """
namespace {

// Numbers of a left factor's tiles, and of a left factor, that stay near.
enum { BLOCK = 100000, NEARBY = 200000 };
enum { FLAT = 48 };  // terms: so few that writing the result takes the time

// A panel of a thread's own, and whose it is, so that the parts of a panel do not each pack it.
struct Own { Desk desk; int64_t pass, panel; };
thread_local Own own = {{NULL, 0}, 0, 0};
int64_t passes = 0;        // so many there were; with Python's lock

// A part of the terms, of all rows and columns.
struct Pass {
    const Work& work;
    const Tiles& tiles;
    int64_t number, start, terms;
    int64_t panel, tile;   // the first ones of
    Real *columns, *rows;  // what was packed for all threads, or NULL

    int used(int64_t panel) const {
        const int64_t rest = work.columns - panel * WIDE;
        return (int)(rest < WIDE ? rest : WIDE);
    }
    void pack_panel(int64_t k, Real* out) const {
        const Factor& right = work.right;
        pack(right.at + k * WIDE * right.right + start * right.down, right.right, right.down, used(k),
             used(k) > LANES ? WIDE : LANES, terms, out);
    }
    void pack_tile(int64_t k, Real* out) const {
        const Factor& left = work.left;
        pack(left.at + tiles.first(k) * left.down + start * left.right, left.down, left.right,
             tiles.height(k), TALL, terms, out);
    }
    const Real* panel_of(int64_t k) const {
        if (columns) return columns + (k - panel) * terms * WIDE;
        Real* const mine = own.desk.of(terms * WIDE + WIDE);
        if (mine && (own.pass != number || own.panel != k)) {
            pack_panel(k, mine);
            own.pass = number;
            own.panel = k;
        }
        return mine;
    }
    // A tile of a panel; `step` is from term to term, or with `high` from row to row.
    void multiply(int64_t k, int64_t panel, const Real* left, int64_t step, bool high, const Real* right)
            const {
        const int64_t row = tiles.first(k), column = panel * WIDE;
        const int height = tiles.height(k), width = used(panel);
        const Tile run = width > LANES ? (high ? high_tile<2>(height) : tile_of<2>(height))
                                       : (high ? high_tile<1>(height) : tile_of<1>(height));
        run(left, step, right, terms, work.out + row * work.columns + column, work.columns, width, start > 0);
        if (work.finish && start + terms == work.terms) work.finish(work, k, row, height, column, width);
    }
    bool compute(int64_t panel, int64_t begin, int64_t end) const {
        const Factor& left = work.left;
        const bool high = !rows && left.down != 1;
        const Real* const right = panel_of(panel);
        for (int64_t k = begin; k < end && right; ++k)
            multiply(k, panel, rows ? rows + (k - tile) * terms * TALL : left.at + tiles.first(k) * left.down,
                     rows ? TALL : high ? left.down : left.right, high, right);
        return right != NULL;
    }
};

// Panels as a whole, and the last ones in parts, so that all threads end together.
bool multiply_near(const Work& work, const Tiles& tiles, int64_t panels, int64_t threads) {
    const Pass pass = {work, tiles, ++passes, 0, work.terms, 0, 0, NULL, NULL};
    const int64_t count = tiles.count, parts = threads == 1 ? 1 : count < 4 ? count : 4;
    const int64_t whole = threads == 1 ? panels : panels < 2 * threads ? 0 : (panels / threads - 1) * threads;
    bool failed = false;
    share_out(threads, whole + (panels - whole) * parts, [&](uint32_t k) {
        const int64_t panel = k < whole ? k : whole + (k - whole) / parts;
        const int64_t part = k < whole ? 0 : (k - whole) % parts, of = k < whole ? 1 : parts;
        if (!pass.compute(panel, count * part / of, count * (part + 1) / of)) failed = true;
    });
    return !failed;
}

// Few terms: the result takes the time, so it is written row by row.
bool multiply_flat(const Work& work, const Tiles& tiles, int64_t panels, int64_t threads) {
    const int64_t terms = work.terms, count = tiles.count, shares = count < 8 * threads ? count : 8 * threads;
    Real* const room = packed.of(terms * panels * WIDE + WIDE);
    if (!room) return false;
    const Pass pass = {work, tiles, ++passes, 0, terms, 0, 0, room, NULL};
    for (int64_t k = 0; k < panels; ++k) pass.pack_panel(k, room + k * terms * WIDE);
    bool failed = false;
    share_out(threads, shares, [&](uint32_t share) {
        Real* const mine = own.desk.of(terms * TALL + WIDE);
        own.pass = 0;
        if (!mine) { failed = true; return; }
        for (int64_t k = count * share / shares; k < count * (share + 1) / shares; ++k) {
            pass.pack_tile(k, mine);
            for (int64_t panel = 0; panel < panels; ++panel)
                pass.multiply(k, panel, mine, TALL, false, room + panel * terms * WIDE);
        }
    });
    return !failed;
}

// Both factors packed, in so many panels and tiles at a time that they need little room; of these, so many
// tiles together that they stay in the second cache.
bool multiply_far(const Work& work, const Tiles& tiles, int64_t panels, int64_t threads) {
    const int64_t count = tiles.count, longest = least(work.terms, NEAR);
    const int64_t few = least(panels, ROOM / (longest * WIDE)), some = least(count, ROOM / (longest * TALL));
    const int64_t fair = some * few / (16 * threads), full = BLOCK / (longest * TALL);
    const int64_t group = most(1, threads > 1 ? least(fair, full) : full);
    Real* const room = packed.of(longest * (few * WIDE + some * TALL) + WIDE);
    if (!room) return false;
    for (int64_t start = 0; start < work.terms; start += NEAR)
    for (int64_t panel = 0; panel < panels; panel += few)
    for (int64_t first = 0; first < count; first += some) {
        const int64_t terms = least(work.terms - start, NEAR), beside = least(panels - panel, few);
        const int64_t high = least(count - first, some), groups = (high + group - 1) / group;
        Real* const rows = room + beside * WIDE * terms;
        const Pass pass = {work, tiles, ++passes, start, terms, panel, first, room, rows};
        // The panels that the rows before had are there.
        const int64_t ready = first ? beside : 0;
        share_out(threads, beside - ready + high, [&](uint32_t k) {
            const int64_t at = k + ready;
            if (at < beside) pass.pack_panel(panel + at, room + at * terms * WIDE);
            else pass.pack_tile(first + at - beside, rows + (at - beside) * terms * TALL);
        });
        share_out(threads, groups * beside, [&](uint32_t k) {
            const int64_t number = k / beside;
            pass.compute(panel + k % beside, first + high * number / groups,
                         first + high * (number + 1) / groups);
        });
    }
    return true;
}

bool multiply_all(const Work& work, const Tiles& tiles, int64_t threads) {
    const int64_t panels = (work.columns + WIDE - 1) / WIDE;
    const bool high = MOST > 6 && high_tile<2>(MOST) && tiles.even;
    const bool lies = work.left.down == 1 || (work.left.right == 1 && high);
    const bool near = work.terms <= NEAR && (work.rows * work.terms <= NEARBY || panels < 3);
    const bool flat = work.terms <= FLAT && work.terms * work.columns <= ROOM / 8;
    return (flat ? multiply_flat : lies && near ? multiply_near : multiply_far)(work, tiles, panels, threads);
}

}  // namespace
"""
)
