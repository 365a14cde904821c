"""The C of a recurrent network's two passes over a sequence.

Examples do not see each other, so a thread takes some of them through all steps and waits for nobody. A
step's recurrent product is made of the tiles of `convolution_tiles`, with the weights packed once a pass; its
sums are still in the processor's nearest cache when the gates are computed from them. No sum depends on which
examples stand beside each other, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

PASSES = """
namespace {

enum { SIMPLE, LSTM, GRU };
enum { BLOCK = 2 * LANES };  // units that are computed together

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

inline void put(Real* to, Vector value, int width) {
    if (width == LANES) store(to, value);
    else memcpy(to, &value, width * sizeof(Real));
}

struct Sequence {
    int64_t cell, function, gates, states, saves;
    bool backwards;
    int64_t steps, examples, units;
    const Real* given;           // the projected inputs, or the table whose rows they are
    const npy_int64* tokens;     // which rows, if so
    int64_t vocabulary;
    const Real *weights, *bias, *mask, *initial[2];
    Real *after[2], *saved;
    const Real* arriving[2];
    Real *to_sums, *to_recurrent, *to_states[2];

    int64_t wide() const { return gates * units; }
    int64_t blocks() const { return (units + BLOCK - 1) / BLOCK; }
    int vectors(int64_t block) const { return units - block * BLOCK > LANES ? 2 : 1; }
    int64_t place(int64_t step) const { return backwards ? steps - 1 - step : step; }
    bool off(int64_t place, int64_t example) const { return mask && mask[place * examples + example] == 0; }
    // A state before a step, of all examples.
    const Real* before(int state, int64_t step) const {
        return step ? after[state] + place(step - 1) * examples * units : initial[state];
    }
    // The input's share; NULL where it has none, for a token that is not in the table.
    const Real* input(int64_t at) const {
        if (!tokens) return given + at * wide();
        return tokens[at] < 0 || tokens[at] >= vocabulary ? NULL : given + tokens[at] * wide();
    }
};

// Where the numbers of one example and some units lie.
struct Spot {
    int64_t row;   // of (time, examples)
    int64_t unit;  // the first one
    int width;     // how many, at most a vector
};

void step_forward(
        const Sequence& s, const Spot& at, const Vector* sums, const Real* x, const Real* hidden,
        const Real* content) {
    const int w = at.width;
    Real* const saved = s.saved + at.row * s.saves * s.units + at.unit;
    Real* const to = s.after[0] + at.row * s.units + at.unit;
    const Real* const bias = s.bias + at.unit;
    Vector sum[4];
    for (int g = 0; g < s.gates; ++g)
        sum[g] = (x ? part(x + g * s.units + at.unit, w) : Vector{}) + part(bias + g * s.units, w);
    if (s.cell == SIMPLE) put(to, phi(s.function, sum[0] + sums[0]), w);
    else if (s.cell == LSTM) {
        const Vector in = sigmoid(sum[0] + sums[0]), forget = sigmoid(sum[1] + sums[1]);
        const Vector out = sigmoid(sum[2] + sums[2]), news = phi(s.function, sum[3] + sums[3]);
        const Vector cell = forget * part(content + at.unit, w) + in * news;
        put(saved, in, w);
        put(saved + s.units, forget, w);
        put(saved + 2 * s.units, out, w);
        put(saved + 3 * s.units, news, w);
        put(s.after[1] + at.row * s.units + at.unit, cell, w);
        put(to, out * phi(s.function, cell), w);
    } else {
        const Vector reset = sigmoid(sum[0] + sums[0]), keep = sigmoid(sum[1] + sums[1]);
        const Vector product = sums[2] + part(bias + 3 * s.units, w);
        const Vector news = phi(s.function, sum[2] + reset * product);
        put(saved, reset, w);
        put(saved + s.units, keep, w);
        put(saved + 2 * s.units, news, w);
        put(saved + 3 * s.units, product, w);
        put(to, (part(hidden + at.unit, w) - news) * keep + news, w);
    }
}

// `slopes` are those of the states after the step, and become those of the states before it, but for what
// comes through the weights.
void step_backward(
        const Sequence& s, const Spot& at, Vector* slopes, const Real* hidden, const Real* content) {
    const int w = at.width;
    const int64_t units = s.units;
    const Real* const saved = s.saved + at.row * s.saves * units + at.unit;
    const int64_t state = at.row * units + at.unit;
    Real* const to = s.to_sums + at.row * s.wide() + at.unit;
    if (s.cell == SIMPLE) {
        put(to, slopes[0] * slope(s.function, part(s.after[0] + state, w)), w);
        slopes[0] = Vector{};
    } else if (s.cell == LSTM) {
        const Vector in = part(saved, w), forget = part(saved + units, w);
        const Vector out = part(saved + 2 * units, w), news = part(saved + 3 * units, w);
        const Vector shown = phi(s.function, part(s.after[1] + state, w));
        const Vector cell = slopes[1] + slopes[0] * out * slope(s.function, shown);
        put(to, cell * news * (in * (Real(1) - in)), w);
        put(to + units, cell * part(content + at.unit, w) * (forget * (Real(1) - forget)), w);
        put(to + 2 * units, slopes[0] * shown * (out * (Real(1) - out)), w);
        put(to + 3 * units, cell * in * slope(s.function, news), w);
        slopes[0] = Vector{};
        slopes[1] = cell * forget;
    } else {
        const Vector reset = part(saved, w), keep = part(saved + units, w);
        const Vector news = part(saved + 2 * units, w), product = part(saved + 3 * units, w);
        const Vector to_news = slopes[0] * (Real(1) - keep) * slope(s.function, news);
        const Vector to_keep = slopes[0] * (part(hidden + at.unit, w) - news) * (keep * (Real(1) - keep));
        const Vector to_reset = to_news * product * (reset * (Real(1) - reset));
        Real* const through = s.to_recurrent + at.row * s.wide() + at.unit;
        put(to, to_reset, w);
        put(to + units, to_keep, w);
        put(to + 2 * units, to_news, w);
        put(through, to_reset, w);
        put(through + units, to_keep, w);
        put(through + 2 * units, to_news * reset, w);
        slopes[0] *= keep;
    }
}

struct Work {
    Real* packed;           // the weights, in panels
    Real* desks;            // a piece's own memory
    int64_t desk;           // how much
    const int32_t* rows;    // offsets of the factors' rows
    const int32_t* terms;   // 0, 1, …
};

// The weights' columns, by block and gate; zeros behind them, since what lies there may be slow to multiply.
void pack_forward(const Sequence& s, int64_t block, Real* packed) {
    const int64_t wide = s.vectors(block) * LANES, used = least(wide, s.units - block * BLOCK);
    Real* to = packed + block * BLOCK * s.wide();
    for (int64_t g = 0; g < s.gates; ++g)
        for (int64_t k = 0; k < s.units; ++k, to += wide) {
            memcpy(to, s.weights + k * s.wide() + g * s.units + block * BLOCK, used * sizeof(Real));
            for (int64_t c = used; c < wide; ++c) to[c] = 0;
        }
}

// The weights' rows, by block, as columns.
void pack_backward(const Sequence& s, int64_t block, Real* packed) {
    const int64_t step = s.vectors(block) * LANES, wide = s.wide();
    const Real* const from = s.weights + block * BLOCK * wide;
    transpose<true>(
        least(step, s.units - block * BLOCK), wide,
        [&](int64_t r, int64_t c, int width) { return part(from + r * wide + c, width); },
        packed + block * BLOCK * wide, step, [](int64_t, Vector value) { return value; });
}

void forward(const Sequence& s, const Work& work, int64_t first, int64_t end, Real* desk) {
    const int64_t count = end - first;
    for (int64_t step = 0; step < s.steps; ++step) {
        const int64_t place = s.place(step);
        const Real* const hidden = s.before(0, step);
        const Real* const content = s.states > 1 ? s.before(1, step) : NULL;
        for (int64_t block = 0; block < s.blocks(); ++block) {
            const int vectors = s.vectors(block);
            const int64_t wide = vectors * LANES, panel = s.units * wide;
            for (int64_t g = 0; g < s.gates; ++g) {
                const Product product = {
                    hidden + first * s.units, work.rows, work.terms, s.units,
                    work.packed + block * BLOCK * s.wide() + g * panel, desk + g * count * wide, NULL, false};
                multiply(product, count, vectors);
            }
            for (int64_t r = first; r < end; ++r) {
                const int64_t row = place * s.examples + r, unit = block * BLOCK;
                if (s.off(place, r)) {
                    const int64_t size = least(wide, s.units - unit) * sizeof(Real);
                    memcpy(s.after[0] + row * s.units + unit, hidden + r * s.units + unit, size);
                    if (content)
                        memcpy(s.after[1] + row * s.units + unit, content + r * s.units + unit, size);
                    continue;  // the backward pass asks for nothing of this step
                }
                const Real* const x = s.input(row);
                const Real* const its_content = content ? content + r * s.units : NULL;
                for (int v = 0; v < vectors; ++v) {
                    const int64_t from = unit + v * LANES;
                    const Spot at = {row, from, (int)least(LANES, s.units - from)};
                    Vector sums[4];
                    for (int64_t g = 0; g < s.gates; ++g)
                        sums[g] = load(desk + (g * count + r - first) * wide + v * LANES);
                    step_forward(s, at, sums, x, hidden + r * s.units, its_content);
                }
            }
        }
    }
}

void backward(const Sequence& s, const Work& work, int64_t first, int64_t end, Real* desk) {
    const int64_t count = end - first, all_units = s.blocks() * BLOCK;
    memset(desk, 0, s.states * count * all_units * sizeof(Real));
    const auto each = [&](const auto& body) {
        for (int64_t r = first; r < end; ++r)
            for (int64_t unit = 0; unit < s.units; unit += LANES) {
                const int64_t block = unit / BLOCK, wide = s.vectors(block) * LANES;
                Real* const kept = desk + block * BLOCK * count + (r - first) * wide + unit % BLOCK;
                body(r, unit, (int)least(LANES, s.units - unit), kept);
            }
    };
    for (int64_t step = s.steps - 1; step >= 0; --step) {
        const int64_t place = s.place(step);
        const Real* const hidden = s.before(0, step);
        const Real* const content = s.states > 1 ? s.before(1, step) : NULL;
        each([&](int64_t r, int64_t unit, int width, Real* kept) {
            const int64_t row = place * s.examples + r;
            Vector slopes[2];
            for (int state = 0; state < s.states; ++state) {
                slopes[state] = load(kept + state * count * all_units);
                if (s.arriving[state])
                    slopes[state] += part(s.arriving[state] + row * s.units + unit, width);
            }
            if (s.off(place, r))
                for (int64_t g = 0; g < s.gates; ++g) {
                    put(s.to_sums + row * s.wide() + g * s.units + unit, Vector{}, width);
                    if (s.to_recurrent != s.to_sums)
                        put(s.to_recurrent + row * s.wide() + g * s.units + unit, Vector{}, width);
                }
            else step_backward(
                s, {row, unit, width}, slopes, hidden + r * s.units, content ? content + r * s.units : NULL);
            for (int state = 0; state < s.states; ++state)
                store(kept + state * count * all_units, slopes[state]);
        });
        for (int64_t block = 0; block < s.blocks(); ++block) {
            const Product product = {
                s.to_recurrent + (place * s.examples + first) * s.wide(), work.rows, work.terms, s.wide(),
                work.packed + block * BLOCK * s.wide(), desk + block * BLOCK * count, NULL, true};
            multiply(product, count, s.vectors(block));
        }
    }
    each([&](int64_t r, int64_t unit, int width, const Real* kept) {
        for (int state = 0; state < s.states; ++state)
            put(s.to_states[state] + r * s.units + unit, load(kept + state * count * all_units), width);
    });
}

// One pass over the sequence by all threads.
bool run_pass(const Sequence& s, bool forwards) {
    // Two pieces a thread, where that leaves them large: a thread that comes late is waited for less long.
    const int64_t threads = trainer::threads();
    const int64_t crews = threads > 1 && s.examples >= 2 * threads * MOST ? 2 * threads : threads;
    const int64_t each = (s.examples + crews - 1) / crews, pieces = each ? (s.examples + each - 1) / each : 0;
    const int64_t room = s.blocks() * BLOCK * s.wide() + LANES;
    const int64_t desk = (forwards ? s.gates * BLOCK : s.states * s.blocks() * BLOCK) * (each + 1);
    Work work = {NULL, NULL, desk, NULL, NULL};
    int32_t* const offsets = (int32_t*)malloc((each + s.wide() + 1) * sizeof(int32_t));
    Real* packed;
    if (posix_memalign((void**)&packed, 64, (room + pieces * desk) * sizeof(Real))) packed = NULL;
    if (offsets && packed) {
        for (int64_t r = 0; r < each; ++r) offsets[r] = (int32_t)(r * (forwards ? s.units : s.wide()));
        for (int64_t k = 0; k < s.wide(); ++k) offsets[each + k] = (int32_t)k;
        work = {packed, packed + room / LANES * LANES, desk, offsets, offsets + each};
        trainer::parallel_for((uint32_t)s.blocks(), [&](uint32_t block) {
            if (forwards) pack_forward(s, block, packed);
            else pack_backward(s, block, packed);
        });
        trainer::parallel_for((uint32_t)pieces, [&](uint32_t piece) {
            const int64_t first = piece * each, end = least(first + each, s.examples);
            if (forwards) forward(s, work, first, end, work.desks + piece * work.desk);
            else backward(s, work, first, end, work.desks + piece * work.desk);
        });
    }
    const bool done = offsets && packed;
    free(offsets);
    free(packed);
    return done;
}

// The gradients of what all steps share: of the bias, and of the table's rows. A piece is some columns, so
// that each sum has one order.
void add_up(const Sequence& s, const Real* slopes, Real* bias, int64_t from, Real* table) {
    enum { COLUMNS = 128 };
    const int64_t wide = s.wide();
    trainer::parallel_for((uint32_t)((wide - from + COLUMNS - 1) / COLUMNS), [&](uint32_t piece) {
        const int64_t start = from + piece * COLUMNS, count = least(COLUMNS, wide - start);
        double total[COLUMNS] = {};
        if (table)
            for (int64_t k = 0; k < s.vocabulary; ++k)
                memset(table + k * wide + start, 0, count * sizeof(Real));
        for (int64_t step = 0; step < s.steps; ++step) {
            Real sum[COLUMNS] = {};
            for (int64_t r = step * s.examples; r < (step + 1) * s.examples; ++r) {
                const Real* const row = slopes + r * wide + start;
                for (int64_t c = 0; c < count; ++c) sum[c] += row[c];
                if (!table || s.tokens[r] < 0 || s.tokens[r] >= s.vocabulary) continue;
                Real* const to = table + s.tokens[r] * wide + start;
                #pragma GCC ivdep
                for (int64_t c = 0; c < count; ++c) to[c] += row[c];
            }
            for (int64_t c = 0; c < count; ++c) total[c] += sum[c];
        }
        for (int64_t c = 0; c < count; ++c) bias[start - from + c] = (Real)total[c];
    });
}

}  // namespace
"""
