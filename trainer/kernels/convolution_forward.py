"""The C of a convolution's forward pass, and of what all passes know of their shapes."""

from __future__ import annotations

FORWARD = """
namespace {

inline Vector positive(Vector value, Vector where) {  // value where `where` is above 0, else 0
    return where > (Vector){} ? value : (Vector){};
}

struct Shape {
    int64_t images, channels, rows, columns, filters, height, width, groups;
    int64_t stride[2], dilation[2], before[2], after[2];
    int64_t out_rows, out_columns;
    bool relu;
    int64_t padded_rows() const { return rows + before[0] + after[0]; }
    int64_t padded_columns() const { return columns + before[1] + after[1]; }
    int64_t padded() const { return channels * padded_rows() * padded_columns(); }
    int64_t places() const { return out_rows * out_columns; }
    int64_t area() const { return height * width; }
    int64_t group_channels() const { return channels / groups; }
    int64_t group_filters() const { return filters / groups; }
    int64_t terms() const { return group_channels() * area(); }
    bool pads() const { return before[0] || before[1] || after[0] || after[1]; }
    int64_t image() const { return channels * rows * columns; }
    int64_t output() const { return filters * places(); }
    int64_t start(int64_t group) const { return group * group_channels() * padded_rows() * padded_columns(); }
};

// Memory that is given back at the end of its block.
template <class T>
struct Room {
    T* at;
    explicit Room(int64_t count) : at(NULL) {
        if (posix_memalign((void**)&at, 64, (count + LANES) * sizeof(T))) at = NULL;
    }
    ~Room() { free(at); }
    T& operator[](int64_t k) { return at[k]; }
private:
    Room(const Room&);
    Room& operator=(const Room&);
};

thread_local Desk desk = {NULL, 0};

// Two vectors of columns, or the last one.
struct Panel {
    int64_t group;
    int64_t first;  // filter or channel
    int64_t at;     // where it begins, were all panels filled up
    int64_t used;
    int vectors;
    int64_t wide() const { return vectors * LANES; }
};

struct Panels {
    int64_t groups, columns;  // so many columns a group
    int64_t each() const { return (columns + 2 * LANES - 1) / (2 * LANES); }
    int64_t count() const { return groups * each(); }
    int64_t width() const { return (columns + LANES - 1) / LANES * LANES; }
    int64_t all() const { return groups * width(); }
    Panel operator[](int64_t k) const {
        const int64_t group = k / each(), start = k % each() * 2 * LANES, rest = columns - start;
        return {group, group * columns + start, group * width() + start, rest < 2 * LANES ? rest : 2 * LANES,
                rest > LANES ? 2 : 1};
    }
};

void pad(const Shape& s, const Real* image, Real* out) {
    const int64_t wide = s.padded_columns();
    for (int64_t k = 0; k < s.channels; ++k) {
        memset(out, 0, s.before[0] * wide * sizeof(Real));
        out += s.before[0] * wide;
        for (int64_t r = 0; r < s.rows; ++r, out += wide, image += s.columns) {
            for (int64_t c = 0; c < s.before[1]; ++c) out[c] = 0;
            memcpy(out + s.before[1], image, s.columns * sizeof(Real));
            for (int64_t c = s.before[1] + s.columns; c < wide; ++c) out[c] = 0;
        }
        memset(out, 0, s.after[0] * wide * sizeof(Real));
        out += s.after[0] * wide;
    }
}

// Where the places of the output begin in a padded image, for some images.
void fill_places(const Shape& s, int64_t images, int32_t* out) {
    for (int64_t n = 0; n < images; ++n)
        for (int64_t r = 0; r < s.out_rows; ++r)
            for (int64_t c = 0; c < s.out_columns; ++c)
                *out++ = (int32_t)(n * s.padded() + r * s.stride[0] * s.padded_columns() + c * s.stride[1]);
}

// Where each channel and place of the kernel is from there.
void fill_terms(const Shape& s, int32_t* out) {
    for (int64_t k = 0; k < s.group_channels(); ++k)
        for (int64_t i = 0; i < s.height; ++i)
            for (int64_t j = 0; j < s.width; ++j)
                *out++ = (int32_t)((k * s.padded_rows() + i * s.dilation[0]) * s.padded_columns()
                                   + j * s.dilation[1]);
}

int64_t together(const Shape& s, int64_t wanted) {
    const int64_t images = (wanted + s.places() - 1) / s.places();
    return images < 1 ? 1 : images > s.images ? (s.images ? s.images : 1) : images;
}

bool forward(const Shape& s, const Real* x, const Real* weights, const Real* bias, Real* y) {
    const Panels panels = {s.groups, s.group_filters()};
    const int64_t terms = s.terms(), places = s.places();
    // So many images that the tiles are full.
    const int64_t images = together(s, 4 * MOST), chunks = (s.images + images - 1) / images;
    Room<int32_t> starts(images * places), offsets(terms);
    Room<Real> packed(panels.all() * terms);
    if (!starts.at || !offsets.at || !packed.at) return false;
    fill_places(s, images, starts.at);
    fill_terms(s, offsets.at);
    trainer::parallel_for((uint32_t)panels.count(), [&](uint32_t piece) {
        const Panel panel = panels[piece];
        const Real* const from = weights + panel.first * terms;
        transpose<true>(
            panel.used, terms,
            [&](int64_t r, int64_t c, int width) { return part(from + r * terms + c, width); },
            &packed[panel.at * terms], panel.wide(), [](int64_t, Vector value) { return value; });
    });
    bool failed = false;
    trainer::parallel_for((uint32_t)chunks, [&](uint32_t piece) {
        const int64_t first = piece * images, count = s.images - first < images ? s.images - first : images;
        const int64_t sums = (images > 1 || places < NEAR ? count * places : NEAR) * 2 * LANES;
        Real* const out = desk.of(sums + (s.pads() ? count * s.padded() : 0));
        if (!out) { failed = true; return; }
        const Real* source = x + first * s.image();
        if (s.pads()) {
            for (int64_t n = 0; n < count; ++n) pad(s, source + n * s.image(), out + sums + n * s.padded());
            source = out + sums;
        }
        for (int64_t k = 0; k < panels.count(); ++k) {
            const Panel panel = panels[k];
            Product product = {source + s.start(panel.group), starts.at, offsets.at, terms,
                               &packed[panel.at * terms], out, NULL, false};
            const auto finish = [&](int64_t c, Vector value) {
                if (bias) value += bias[panel.first + c];
                // What is not a number stays so.
                return s.relu ? (value <= (Vector){} ? (Vector){} : value) : value;
            };
            const auto hand_over = [&](const Real* from, int64_t rows, Real* to) {
                transpose<false>(
                    rows, panel.used,
                    [&](int64_t r, int64_t c, int) { return load(from + r * panel.wide() + c); }, to, places,
                    finish);
            };
            Real* const to = y + first * s.output() + panel.first * places;
            if (images > 1) {
                multiply(product, count * places, panel.vectors);
                for (int64_t n = 0; n < count; ++n)
                    hand_over(out + n * places * panel.wide(), places, to + n * s.output());
            } else for (int64_t from = 0; from < places; from += NEAR) {
                const int64_t rest = places - from < NEAR ? places - from : NEAR;
                product.rows = &starts[from];
                multiply(product, rest, panel.vectors);
                hand_over(out, rest, to + from);
            }
        }
    });
    return !failed;
}

}  // namespace
"""
