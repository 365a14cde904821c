"""The C of a convolution's backward passes, to the weights and the bias and to the images."""

from __future__ import annotations

BACKWARD = """
#include <algorithm>
namespace {

bool to_weights(const Shape& s, const Real* x, const Real* y, const Real* slopes, Real* weights, Real* bias) {
    const Panels panels = {s.groups, s.group_filters()};
    const int64_t terms = s.terms(), places = s.places(), images = together(s, 512);
    Room<int32_t> starts(images * places), offsets(terms);
    Room<Real> turned(images * places * panels.all()), sums(panels.all() * terms), biases(panels.all());
    Room<Real> padded(s.pads() ? images * s.padded() : 0);
    if (!starts.at || !offsets.at || !turned.at || !sums.at || !biases.at || !padded.at) return false;
    fill_places(s, images, starts.at);
    fill_terms(s, offsets.at);
    memset(sums.at, 0, panels.all() * terms * sizeof(Real));
    memset(biases.at, 0, panels.all() * sizeof(Real));
    // Larger pieces where there are enough of them: the columns stay near.
    const int64_t size = terms < 64 * MOST ? MOST : 4 * MOST, pieces = (terms + size - 1) / size;
    for (int64_t first = 0; first < s.images; first += images) {
        const int64_t count = s.images - first < images ? s.images - first : images, inner = count * places;
        const Real* const source = s.pads() ? padded.at : x + first * s.image();
        trainer::parallel_for((uint32_t)(count * (panels.count() + 1)), [&](uint32_t piece) {
            const int64_t n = piece / (panels.count() + 1), k = piece % (panels.count() + 1);
            if (k == panels.count()) {
                if (s.pads()) pad(s, x + (first + n) * s.image(), &padded[n * s.padded()]);
                return;
            }
            const Panel panel = panels[k];
            const int64_t from = (first + n) * s.output() + panel.first * places;
            transpose<true>(
                panel.used, places,
                [&](int64_t r, int64_t c, int width) {
                    const Vector slope = part(slopes + from + r * places + c, width);
                    return s.relu ? positive(slope, part(y + from + r * places + c, width)) : slope;
                },
                &turned[panel.at * images * places + n * places * panel.wide()], panel.wide(),
                [](int64_t, Vector value) { return value; });
        });
        // The last piece of a panel sums the bias's slopes.
        trainer::parallel_for((uint32_t)(panels.count() * (pieces + 1)), [&](uint32_t piece) {
            const Panel panel = panels[piece / (pieces + 1)];
            const int64_t k = piece % (pieces + 1);
            const int64_t begin = terms * k / pieces, end = terms * (k + 1) / pieces;
            const Real* const columns = &turned[panel.at * images * places];
            if (k == pieces) {
                for (int v = 0; v < panel.vectors; ++v) {
                    Real* const to = &biases[panel.at + v * LANES];
                    Vector sum = {};
                    for (int64_t p = 0; p < inner; ++p) sum += load(columns + p * panel.wide() + v * LANES);
                    store(to, load(to) + sum);
                }
                return;
            }
            for (int64_t from = 0; from < inner; from += NEAR) {
                const Product product = {
                    source + s.start(panel.group), &offsets[begin], &starts[from],
                    inner - from < NEAR ? inner - from : NEAR, columns + from * panel.wide(),
                    &sums[panel.at * terms + begin * panel.wide()], NULL, true};
                multiply(product, end - begin, panel.vectors);
            }
        });
    }
    for (int64_t k = 0; k < panels.count(); ++k) {
        const Panel panel = panels[k];
        const Real* const from = &sums[panel.at * terms];
        transpose<false>(
            terms, panel.used, [&](int64_t r, int64_t c, int) { return load(from + r * panel.wide() + c); },
            weights + panel.first * terms, terms, [](int64_t, Vector value) { return value; });
        memcpy(bias + panel.first, &biases[panel.at], panel.used * sizeof(Real));
    }
    return true;
}

// For each place of the kernel: the places of the output whose pixel is not of the padding, and that pixel.
struct Taps {
    int64_t room;  // for one place of the kernel
    Room<int32_t> rows, targets;
    Room<int64_t> counts;  // of an image
    Taps(const Shape& s, int64_t images)
        : room(images * s.places()), rows(s.area() * room), targets(s.area() * room), counts(s.area()) {}
    bool fits() const { return rows.at && targets.at && counts.at; }
    void fill(const Shape& s, int64_t images, int64_t tap) {
        const int64_t i = tap / s.width, j = tap % s.width;
        int64_t count = 0;
        for (int64_t n = 0; n < images; ++n)
            for (int64_t r = 0; r < s.out_rows; ++r)
                for (int64_t c = 0; c < s.out_columns; ++c) {
                    const int64_t row = r * s.stride[0] + i * s.dilation[0] - s.before[0];
                    const int64_t column = c * s.stride[1] + j * s.dilation[1] - s.before[1];
                    if (row < 0 || row >= s.rows || column < 0 || column >= s.columns) continue;
                    rows[tap * room + count] = (int32_t)(n * s.output() + r * s.out_columns + c);
                    targets[tap * room + count++] = (int32_t)((n * s.rows + row) * s.columns + column);
                }
        counts[tap] = count / images;
    }
};

// (panels, places of the kernel, filters, channels of the panel)
void pack(const Shape& s, const Panels& panels, const Real* weights, int64_t tap, Real* out) {
    const int64_t filters = s.group_filters();
    for (int64_t p = 0; p < panels.count(); ++p) {
        const Panel panel = panels[p];
        const int64_t wide = panel.wide(), channel = panel.first - panel.group * s.group_channels();
        Real* const to = out + (panel.at * s.area() + tap * wide) * filters;
        for (int64_t f = 0; f < filters; ++f) {
            const int64_t filter = panel.group * filters + f;
            const Real* const from = weights + (filter * s.group_channels() + channel) * s.area() + tap;
            for (int64_t k = 0; k < wide; ++k) to[f * wide + k] = k < panel.used ? from[k * s.area()] : 0;
        }
    }
}

bool to_inputs(const Shape& s, const Real* weights, const Real* y, const Real* slopes, Real* x) {
    const Panels panels = {s.groups, s.group_channels()};
    const int64_t places = s.places(), pixels = s.rows * s.columns;
    const int64_t area = s.area(), filters = s.group_filters();
    const int64_t images = together(s, 4 * MOST), chunks = (s.images + images - 1) / images;
    Room<Real> packed(panels.all() * area * filters);
    Room<int32_t> terms(filters);
    Taps taps(s, images);
    if (!packed.at || !terms.at || !taps.fits()) return false;
    for (int64_t f = 0; f < filters; ++f) terms[f] = (int32_t)(f * places);
    trainer::parallel_for((uint32_t)area, [&](uint32_t tap) {
        taps.fill(s, images, tap);
        pack(s, panels, weights, tap, packed.at);
    });
    bool failed = false;
    trainer::parallel_for((uint32_t)chunks, [&](uint32_t piece) {
        const int64_t first = piece * images, count = s.images - first < images ? s.images - first : images;
        // Bands of a large image, so that its sums stay near.
        const int64_t band = images == 1 && NEAR < pixels ? NEAR : count * pixels, sums = band * 2 * LANES;
        Real* const out = desk.of(sums + (s.relu ? count * s.output() : 0));
        if (!out) { failed = true; return; }
        const Real* source = slopes + first * s.output();
        if (s.relu) {
            const Real* const mask = y + first * s.output();
            Real* const masked = out + sums;
            for (int64_t k = 0; k < count * s.output(); ++k) masked[k] = mask[k] > 0 ? source[k] : 0;
            source = masked;
        }
        for (int64_t k = 0; k < panels.count(); ++k) {
            const Panel panel = panels[k];
            const Real* const columns = &packed[panel.at * area * filters];
            const auto hand_over = [&](const Real* from, int64_t length, Real* to) {
                transpose<false>(
                    length, panel.used,
                    [&](int64_t r, int64_t c, int) { return load(from + r * panel.wide() + c); }, to, pixels,
                    [](int64_t, Vector value) { return value; });
            };
            Real* const to = x + first * s.image() + panel.first * pixels;
            for (int64_t top = 0; top < count * pixels; top += band) {
                const int64_t bottom = top + band < count * pixels ? top + band : count * pixels;
                memset(out, 0, (bottom - top) * panel.wide() * sizeof(Real));
                for (int64_t tap = 0; tap < area; ++tap) {
                    const int32_t* const all = &taps.targets[tap * taps.room];
                    const int32_t* const end = all + count * taps.counts[tap];
                    const int32_t* const from = std::lower_bound(all, end, (int32_t)top);
                    const Product product = {
                        source + panel.group * filters * places, &taps.rows[tap * taps.room + (from - all)],
                        terms.at, filters, columns + tap * filters * panel.wide(), out - top * panel.wide(),
                        from, true};
                    multiply(product, std::lower_bound(from, end, (int32_t)bottom) - from, panel.vectors);
                }
                if (images == 1) hand_over(out, bottom - top, to + top);
            }
            if (images > 1)
                for (int64_t n = 0; n < count; ++n)
                    hand_over(out + n * pixels * panel.wide(), pixels, to + n * s.image());
        }
    });
    return !failed;
}

}  // namespace
"""
