#include "line.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

// The sums below are the work: `omp simd` lets the compiler reorder theirs, and no others.
namespace apdepth::detail {
namespace {

// Lines tried, and anchors that they are tried on.
constexpr std::size_t kPairs = 400, kJudges = 200;
// T, smallest first: what the sensor promises, and coarser where the model's own error is larger.
constexpr double kTolerances[] = {2.5, 5.0, 10.0, 20.0, 40.0, 80.0};
// So many must agree: half of them, and what may agree by chance where they are few.
constexpr double kHalf = 0.5, kChance = 0.7, kMostNeeded = 0.75;
// Tukey's constant.
constexpr double kTukey = 4.685;
// Rounds at most, and those that measure the spread anew.
constexpr int kRounds = 15, kSpreads = 3;
// Relative depths nearer than this give no line.
constexpr double kSameDepth = 1e-6;

}  // namespace

double median(double *values, std::size_t count) {
    double *middle = values + count / 2;
    std::nth_element(values, middle, values + count);
    if (count % 2 == 1) return *middle;
    return (*std::max_element(values, middle) + *middle) / 2.0;
}

bool Line::fit(const Doubles &d, const Doubles &z, const Doubles &sigma) {
    const std::size_t count = d.size();
    inverse_.resize(count), weights_.resize(count), residual_.resize(count), near_.resize(count);
    for (std::size_t i = 0; i < count; ++i) inverse_[i] = 1.0 / sigma[i];
    if (!consensus(d, z)) return false;
    reweigh(d, z, sigma);
    return true;
}

// `spread` of those within `kTolerances[0]` of the one before; false where there are fewer than two.
bool Line::measure_spread() {
    const double most = kTolerances[0] * spread;
    std::size_t count = 0;
    for (const double r : residual_) {
        near_[count] = std::abs(r);
        count += near_[count] <= most ? 1 : 0;
    }
    if (count < 2) return false;
    spread = std::max(1.5 * median(near_.data(), count), 1e-9);
    return true;
}

// Each round fits what is left of z, about the weighted mean of d of the round before: nothing large
// is subtracted from its like.
void Line::reweigh(const Doubles &d, const Doubles &z, const Doubles &sigma) {
    const std::size_t count = d.size();
    for (std::size_t i = 0; i < count; ++i) weights_[i] = inverse_[i] * inverse_[i];
    double origin = 0.5;
    for (int round = 0; round < kRounds; ++round) {
        for (std::size_t i = 0; i < count; ++i)
            residual_[i] = (z[i] - (scale * d[i] + shift)) * inverse_[i];
        if (round < kSpreads && !measure_spread()) break;
        const double edge = 1.0 / (kTukey * spread);
        double weight = 0.0, away = 0.0, square = 0.0, left = 0.0, cross = 0.0;
#pragma omp simd reduction(+ : weight, away, square, left, cross)
        for (std::size_t i = 0; i < count; ++i) {
            const double u = residual_[i] * edge, inside = 1.0 - (u * u < 1.0 ? u * u : 1.0);
            const double root = inside * inverse_[i], w = root * root;
            const double a = d[i] - origin, e = residual_[i] * sigma[i];
            weights_[i] = w;
            weight += w, away += w * a, square += w * a * a;
            left += w * e, cross += w * a * e;
        }
        if (weight <= 0.0) break;
        const double mean = away / weight, step = left / weight;
        const double about = square - away * mean;
        if (about <= kSameDepth * kSameDepth * weight) break;
        const double steeper = (cross - left * mean) / about;
        if (scale + steeper <= 0.0) break;
        origin += mean;
        const double higher = step - steeper * origin;
        scale += steeper, shift += higher;
        if (std::abs(steeper) + std::abs(higher) < 1e-12 * (std::abs(scale) + std::abs(shift)))
            break;
    }
}

void Line::try_pair(const Doubles &d, const Doubles &z, std::size_t first, std::size_t second) {
    const double rise = d[second] - d[first];
    if (!(std::abs(rise) > kSameDepth)) return;
    const double tried = (z[second] - z[first]) / rise;
    if (!(tried > 0.0)) return;
    scales_.push_back(tried);
    shifts_.push_back(z[first] - tried * d[first]);
}

// All pairs, or kPairs of them from a linear congruential sequence.
void Line::try_pairs(const Doubles &d, const Doubles &z) {
    const std::size_t count = d.size();
    scales_.clear(), shifts_.clear();
    scales_.reserve(kPairs), shifts_.reserve(kPairs);
    if (count * (count - 1) / 2 <= kPairs) {
        for (std::size_t i = 0; i < count; ++i)
            for (std::size_t j = i + 1; j < count; ++j) try_pair(d, z, i, j);
        return;
    }
    std::uint32_t state = 12345;
    const auto draw = [&] {
        state = (state * 1103515245U + 12345U) & 0x7FFFFFFFU;
        return (state >> 8) % count;
    };
    for (std::size_t i = 0; i < kPairs; ++i) {
        const std::size_t first = draw();
        try_pair(d, z, first, draw());
    }
}

bool Line::consensus(const Doubles &d, const Doubles &z) {
    try_pairs(d, z);
    const std::size_t lines = scales_.size(), count = d.size();
    if (lines == 0) return false;
    const std::size_t judges = std::min(count, kJudges);
    const double share =
        std::min(kHalf + kChance / std::sqrt(static_cast<double>(count)), kMostNeeded);
    const double enough = share * static_cast<double>(judges);
    cost_.reserve(kPairs);
    std::size_t best = 0;
    for (const double tolerance : kTolerances) {
        const double most = tolerance * tolerance;
        cost_.assign(lines, 0.0);
        for (std::size_t j = 0; j < judges; ++j) {
            const std::size_t at = j * count / judges;
            const double there = d[at], known = z[at], inverse = inverse_[at];
            const double *scales = scales_.data(), *shifts = shifts_.data();
            double *cost = cost_.data();
#pragma omp simd
            for (std::size_t i = 0; i < lines; ++i) {
                const double r = (scales[i] * there + shifts[i] - known) * inverse;
                cost[i] += r * r < most ? r * r : most;
            }
        }
        best =
            static_cast<std::size_t>(std::min_element(cost_.begin(), cost_.end()) - cost_.begin());
        spread = tolerance / kTolerances[0];
        std::size_t agree = 0;
        for (std::size_t j = 0; j < judges; ++j) {
            const std::size_t at = j * count / judges;
            const double r = (scales_[best] * d[at] + shifts_[best] - z[at]) * inverse_[at];
            agree += std::abs(r) < tolerance ? 1 : 0;
        }
        if (static_cast<double>(agree) >= enough) break;
    }
    scale = scales_[best], shift = shifts_[best];
    return true;
}

void Line::covariance(const Doubles &d, double (&found)[4]) const {
    const std::size_t count = d.size();
    double total = 0.0, first = 0.0, second = 0.0;
#pragma omp simd reduction(+ : total, first, second)
    for (std::size_t i = 0; i < count; ++i) {
        const double w = weights_[i] > 0.0 ? inverse_[i] * inverse_[i] : 0.0;
        total += w, first += w * d[i], second += w * d[i] * d[i];
    }
    const double determinant = second * total - first * first;
    if (!(determinant > 0.0)) {
        std::fill_n(found, 4, std::numeric_limits<double>::infinity());
        return;
    }
    const double n = static_cast<double>(count);
    const double share = (4.0 + n * spread * spread) / (4.0 + n) / determinant;
    found[0] = total * share, found[3] = second * share;
    found[1] = found[2] = -first * share;
}

}  // namespace apdepth::detail
