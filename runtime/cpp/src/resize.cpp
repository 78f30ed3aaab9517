#include "resize.hpp"

#include <algorithm>
#include <cmath>

namespace apdepth::detail {
namespace {

constexpr int kBits = 22;

// What differs between bytes of RGB and floats of depth.
int sum_from(const std::uint8_t *) { return 1 << (kBits - 1); }
double sum_from(const float *) { return 0.0; }
void round_to(std::uint8_t &sample, int sum) { sample = static_cast<std::uint8_t>(sum >> kBits); }
void round_to(float &sample, double sum) { sample = static_cast<float>(sum); }
const int *weights_of(const Axis &axis, int at, const std::uint8_t *) { return axis.fixed(at); }
const double *weights_of(const Axis &axis, int at, const float *) { return axis.weights(at); }

// One row made narrower or wider.
template <int kChannels, class Sample>
void along(const Sample *row, const Axis &axis, Sample *target) {
    for (int x = 0; x < axis.to(); ++x, target += kChannels) {
        const Sample *pixel = row + kChannels * std::ptrdiff_t{axis.first(x)};
        const auto *weights = weights_of(axis, x, row);
        decltype(sum_from(row)) sums[kChannels];
        for (auto &sum : sums) sum = sum_from(row);
        for (int k = 0; k < axis.count(x); ++k, pixel += kChannels)
            for (int c = 0; c < kChannels; ++c) sums[c] += pixel[c] * weights[k];
        for (int c = 0; c < kChannels; ++c) round_to(target[c], sums[c]);
    }
}

// One row of `length` samples out of several, each by its weight.
template <class Sample, class Sum, class Row>
void down(const Row &row, std::ptrdiff_t length, const Axis &axis, int y, Sum *sums,
          Sample *target) {
    std::fill_n(sums, length, sum_from(target));
    const auto *weights = weights_of(axis, y, target);
    for (int k = 0; k < axis.count(y); ++k) {
        const Sample *samples = row(axis.first(y) + k);
        const Sum weight = weights[k];
#pragma omp simd
        for (std::ptrdiff_t x = 0; x < length; ++x) sums[x] += samples[x] * weight;
    }
#pragma omp simd
    for (std::ptrdiff_t x = 0; x < length; ++x) round_to(target[x], sums[x]);
}

// Pillow from version 13 on; before, rows always came first, and roundings differ.
bool is_down_first(Size from, Size to) {
    return to.height < from.height && from.height - to.height > 2 * (from.width - to.width);
}

}  // namespace

void Axis::prepare(int from, int to) {
    if (from == from_ && to == to_) return;
    const double step = static_cast<double>(from) / to, reach = std::max(step, 1.0);
    taps_ = 2 * static_cast<int>(std::ceil(reach)) + 1;
    const auto samples = static_cast<std::size_t>(to);
    first_.assign(samples, 0);
    count_.assign(samples, 0);
    weights_.assign(samples * static_cast<std::size_t>(taps_), 0.0);
    fixed_.assign(weights_.size(), 0);
    for (std::size_t at = 0; at < samples; ++at) {
        const double centre = (static_cast<double>(at) + 0.5) * step;
        const int first = std::max(static_cast<int>(centre - reach + 0.5), 0);
        const int count = std::min(static_cast<int>(centre + reach + 0.5), from) - first;
        double *weights = weights_.data() + at * static_cast<std::size_t>(taps_);
        double sum = 0;
        for (int k = 0; k < count; ++k) {
            weights[k] = std::max(1.0 - std::abs((k + first - centre + 0.5) * (1.0 / reach)), 0.0);
            sum += weights[k];
        }
        int *fixed = fixed_.data() + at * static_cast<std::size_t>(taps_);
        for (int k = 0; k < count; ++k) {
            weights[k] /= sum;
            fixed[k] = static_cast<int>(0.5 + weights[k] * (1 << kBits));
        }
        first_[at] = first;
        count_[at] = count;
    }
    from_ = from;
    to_ = to;
}

template <int kChannels, class Sample, class Sum, class Row>
void Resizer::resize(Way<Sample, Sum> &way, const Row &row, Size from, Sample *target, Size to) {
    const std::ptrdiff_t before = kChannels * std::ptrdiff_t{from.width};
    const std::ptrdiff_t after = kChannels * std::ptrdiff_t{to.width};
    const bool is_down = from.height != to.height, is_along = from.width != to.width;
    const bool down_first = is_down_first(from, to);
    way.columns.prepare(from.width, to.width);
    way.rows.prepare(from.height, to.height);
    Sample *between = target;
    if (is_down && is_along) {
        const auto rows = static_cast<std::size_t>(down_first ? to.height : from.height);
        way.between.resize(rows * static_cast<std::size_t>(down_first ? before : after));
        between = way.between.data();
    }
    const auto all_along = [&](const auto &source, int rows, Sample *out) {
        for (int y = 0; y < rows; ++y) along<kChannels>(source(y), way.columns, out + after * y);
    };
    const auto all_down = [&](const auto &source, std::ptrdiff_t length, Sample *out) {
        way.sums.resize(static_cast<std::size_t>(length));
        for (int y = 0; y < to.height; ++y)
            down(source, length, way.rows, y, way.sums.data(), out + length * y);
    };
    const std::ptrdiff_t length = down_first ? before : after;
    const auto line = [&](int y) -> const Sample * { return between + length * y; };
    if (!is_down && !is_along) {
        for (int y = 0; y < to.height; ++y) std::copy_n(row(y), after, target + after * y);
    } else if (!is_down) {
        all_along(row, from.height, target);
    } else if (!is_along) {
        all_down(row, after, target);
    } else if (down_first) {
        all_down(row, before, between);
        all_along(line, to.height, target);
    } else {
        all_along(row, from.height, between);
        all_down(line, after, target);
    }
}

void Resizer::rgb(const RgbRow &row, Size from, std::uint8_t *target, Size to) {
    resize<3>(rgb_, row, from, target, to);
}

void Resizer::depth(const float *source, Size from, float *target, Size to) {
    const auto row = [&](int y) { return source + std::ptrdiff_t{from.width} * y; };
    resize<1>(depth_, row, from, target, to);
}

}  // namespace apdepth::detail
