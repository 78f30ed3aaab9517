#include "metric/motion.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace apdepth::detail {
namespace {

constexpr int kReach = 3, kRounds = 4;
// 48 and 6 of 255, in a sum of 4x4 pixels and three channels.
constexpr double kFirst = 48 * 4 * 4 * 3, kLater = 6 * 4 * 4 * 3;

void halve(Plane<const std::int32_t> from, Plane<std::int32_t> to) {
    for (std::ptrdiff_t y = 0; y < to.height; ++y) {
        const std::int32_t *upper = from.row(2 * y), *lower = from.row(2 * y + 1);
        std::int32_t *sums = to.row(y);
        for (std::ptrdiff_t x = 0; x < to.width; ++x)
            sums[x] = upper[2 * x] + lower[2 * x] + upper[2 * x + 1] + lower[2 * x + 1];
    }
}

std::int64_t difference(const Overlap &both) {
    // So many of the largest differences fit 32 bits, which are added twice as fast as 64.
    constexpr std::ptrdiff_t kPart = 8192;
    std::int64_t total = 0;
    for (std::ptrdiff_t y = 0; y < both.height; ++y) {
        const std::int32_t *now = both.now_row(y), *last = both.last_row(y);
        for (std::ptrdiff_t begin = 0; begin < both.width; begin += kPart) {
            const std::ptrdiff_t end = std::min(begin + kPart, both.width);
            std::int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
            for (std::ptrdiff_t x = begin; x < end; ++x) sum += std::abs(now[x] - last[x]);
            total += sum;
        }
    }
    return total;
}

// The shift of the smallest difference around `about`; of the smallest ones the first.
Shift nearest(Plane<const std::int32_t> now, Plane<const std::int32_t> last, Shift about,
              int reach) {
    constexpr int kSteps[] = {0, -1, 1, -2, 2, -3, 3};
    const std::ptrdiff_t most_down = now.height / 4, most_right = now.width / 4;
    double best = std::numeric_limits<double>::infinity();
    Shift found;
    for (int i = 0; i <= 2 * reach; ++i)
        for (int j = 0; j <= 2 * reach; ++j) {
            const Shift shift{about.down + kSteps[i], about.right + kSteps[j]};
            if (std::abs(shift.down) > most_down || std::abs(shift.right) > most_right) continue;
            const Overlap both(now, last, shift);
            if (both.size() == 0) continue;
            const double mean =
                static_cast<double>(difference(both)) / static_cast<double>(both.size());
            if (mean < best) best = mean, found = shift;
        }
    return found;
}

Move solved(double a, double b, double c, double p, double q) {
    const double determinant = a * c - b * b;
    if (determinant <= 1e-3 * ((a + c) * (a + c)) / 4)
        return {};  // no texture, or of one direction only
    return {std::clamp((b * q - c * p) / determinant, -1.0, 1.0),
            std::clamp((b * p - a * q) / determinant, -1.0, 1.0)};
}

}  // namespace

void Pyramid::resize(std::ptrdiff_t height, std::ptrdiff_t width) {
    row_ = row_room_.plane(2, width);
    for (std::size_t i = 0; i < levels_.size(); ++i) {
        height /= 2, width /= 2;
        levels_[i] = rooms_[i].plane(height, width);
    }
}

void Pyramid::build(const Halves &halves) {
    const auto &[red, green, blue] = halves;
    for (std::ptrdiff_t y = 0; y < levels_[0].height; ++y) {
        for (std::ptrdiff_t half = 0; half < 2; ++half) {
            const std::int16_t *r = red.row(2 * y + half), *g = green.row(2 * y + half),
                               *b = blue.row(2 * y + half);
            std::int32_t *grey = row_.row(half);
#pragma omp simd
            for (std::ptrdiff_t x = 0; x < row_.width; ++x) grey[x] = r[x] + g[x] + b[x];
        }
        halve(row_, {levels_[0].row(y), 1, levels_[0].width});
    }
    halve(levels_[0], levels_[1]);
    halve(levels_[1], levels_[2]);
}

Overlap::Overlap(Plane<const std::int32_t> now_, Plane<const std::int32_t> last_, Shift moved)
    : now(now_),
      last(last_),
      shift(moved),
      height(std::max<std::ptrdiff_t>(now.height - std::abs(moved.down), 0)),
      width(std::max<std::ptrdiff_t>(now.width - std::abs(moved.right), 0)) {}

const std::int32_t *Overlap::now_row(std::ptrdiff_t y) const {
    return now.row(y + std::max<std::ptrdiff_t>(shift.down, 0)) +
           std::max<std::ptrdiff_t>(shift.right, 0);
}

const std::int32_t *Overlap::last_row(std::ptrdiff_t y) const {
    return last.row(y - std::min<std::ptrdiff_t>(shift.down, 0)) -
           std::min<std::ptrdiff_t>(shift.right, 0);
}

void MotionSearch::resize(Plane<const std::int32_t> level) {
    late_ = rooms_[0].plane(level.height, level.width);
    down_ = rooms_[1].plane(level.height, level.width);
    right_ = rooms_[2].plane(level.height, level.width);
}

Move MotionSearch::operator()(const Pyramid &now, const Pyramid &last) {
    Shift moved;
    for (const std::size_t level : {2U, 1U, 0U})
        moved = nearest(now.level(level), last.level(level), {2 * moved.down, 2 * moved.right},
                        level == 2 ? kReach : 1);
    const Move more = rest({now.level(0), last.level(0), moved});
    return {4 * (static_cast<double>(moved.down) + more.down),
            4 * (static_cast<double>(moved.right) + more.right)};
}

// The part of a pixel of this level that is left, at most 1: one step of Lucas and Kanade. All
// values are quarters of whole numbers, so that floats hold them, and doubles their sums, exactly:
// what is found doesn't depend on the order of the sums.
Move MotionSearch::rest(const Overlap &both) {
    const std::ptrdiff_t height = both.height - 1, width = both.width - 1;
    if (height < 1 || width < 1) return {};
    for (std::ptrdiff_t y = 0; y < height; ++y) {
        const std::int32_t *now = both.now_row(y), *now_below = both.now_row(y + 1);
        const std::int32_t *last = both.last_row(y), *last_below = both.last_row(y + 1);
        float *late = late_.data + y * width, *down = down_.data + y * width,
              *right = right_.data + y * width;
#pragma omp simd
        for (std::ptrdiff_t x = 0; x < width; ++x) {
            const std::int32_t a = now[x] + last[x], b = now[x + 1] + last[x + 1];
            const std::int32_t c = now_below[x] + last_below[x];
            const std::int32_t d = now_below[x + 1] + last_below[x + 1];
            const std::int32_t change = now[x] - last[x] + now[x + 1] - last[x + 1] + now_below[x] -
                                        last_below[x] + now_below[x + 1] - last_below[x + 1];
            late[x] = static_cast<float>(change) * 0.25f;
            down[x] = static_cast<float>(c + d - a - b) * 0.25f;
            right[x] = static_cast<float>(b + d - a - c) * 0.25f;
        }
    }
    Move found;
    for (int round = 0; round < kRounds; ++round) {
        const double most = round == 0 ? kFirst : kLater;
        const float *late = late_.data, *down = down_.data, *right = right_.data;
        double a = 0, b = 0, c = 0, p = 0, q = 0;
#pragma omp simd reduction(+ : a, b, c, p, q)
        for (std::ptrdiff_t i = 0; i < height * width; ++i) {
            const double l = late[i], d = down[i], r = right[i];
            const double counts = std::abs(l + found.down * d + found.right * r) < most ? 1.0 : 0.0;
            a += counts * d * d, b += counts * d * r, c += counts * r * r;
            p += counts * d * l, q += counts * r * l;
        }
        found = solved(a, b, c, p, q);
    }
    return found;
}

bool correlate_less(const Overlap &both, double least) {
    double now_sum = 0, last_sum = 0, product = 0, now_square = 0, last_square = 0;
    for (std::ptrdiff_t y = 0; y < both.height; ++y)
        for (std::ptrdiff_t x = 0; x < both.width; ++x)
            now_sum += both.now_row(y)[x], last_sum += both.last_row(y)[x];
    const auto size = static_cast<double>(std::max<std::ptrdiff_t>(both.size(), 1));
    for (std::ptrdiff_t y = 0; y < both.height; ++y)
        for (std::ptrdiff_t x = 0; x < both.width; ++x) {
            const double now = both.now_row(y)[x] - now_sum / size;
            const double last = both.last_row(y)[x] - last_sum / size;
            product += now * last, now_square += now * now, last_square += last * last;
        }
    return product < least * std::sqrt(now_square * last_square);
}

}  // namespace apdepth::detail
