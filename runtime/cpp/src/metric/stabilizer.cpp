#include "metric/stabilizer.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "error.hpp"
#include "metric/exponential.hpp"

namespace apdepth::detail {
namespace {

// Weight of the last depth where nothing changed, and how much noise passes for that.
constexpr double kKept = 0.9, kTrust = 1.1;
// Differences at which likeness falls to 1/e: of colours, of 255; and of depths.
constexpr double kColour = 12.0, kDepth = 0.15;
// The affine fit: residual at a quarter of the weight, rounds, fewest pixels, and the way home.
constexpr double kResidual = 0.1, kFewest = 50, kHome = 0.3;
constexpr int kRounds = 4;
// A cut: a smaller share alike than the first; or than the second, and correlated less.
constexpr double kAlike = 0.05, kFewAlike = 0.6, kCorrelated = 0.6;

bool is_finite(const float *values, std::ptrdiff_t count) {
    float sum = 0.0f;  // of zeros, but for NaN and Inf
#pragma omp simd reduction(+ : sum)
    for (std::ptrdiff_t i = 0; i < count; ++i) sum += values[i] * 0.0f;
    return sum == 0.0f;
}

// R, G, B of 2x2 pixels of two rows, summed: `width` of each.
void sum_rows(const std::uint8_t *upper, const std::uint8_t *lower, std::ptrdiff_t width,
              std::int16_t *__restrict red, std::int16_t *__restrict green,
              std::int16_t *__restrict blue) {
    for (std::ptrdiff_t x = 0; x < width; ++x, upper += 6, lower += 6) {
        red[x] = static_cast<std::int16_t>(upper[0] + upper[3] + lower[0] + lower[3]);
        green[x] = static_cast<std::int16_t>(upper[1] + upper[4] + lower[1] + lower[4]);
        blue[x] = static_cast<std::int16_t>(upper[2] + upper[5] + lower[2] + lower[5]);
    }
}

std::ptrdiff_t rounded(double move) { return static_cast<std::ptrdiff_t>(std::floor(move + 0.5)); }

Shift rounded(Move move) { return {rounded(move.down), rounded(move.right)}; }

// Where an axis of what both moves leave in the picture begins, and how long it is.
std::array<std::ptrdiff_t, 2> left_by(std::ptrdiff_t side, std::ptrdiff_t first,
                                      std::ptrdiff_t second) {
    const std::ptrdiff_t begin = std::max<std::ptrdiff_t>({0, first, second});
    const std::ptrdiff_t end = side + std::min<std::ptrdiff_t>({0, first, second});
    return {begin + begin % 2, end - begin - begin % 2};
}

std::optional<Window> window_of(std::ptrdiff_t height, std::ptrdiff_t width, Shift by_colour,
                                Shift by_depth) {
    const auto [top, rows] = left_by(height, by_colour.down, by_depth.down);
    const auto [left, columns] = left_by(width, by_colour.right, by_depth.right);
    if (std::min(rows, columns) < 4) return {};
    return Window{top, left, rows, columns};
}

// exp of every second value of every second row.
void exponentials(Plane<const float> from, Plane<float> to) {
    for (std::ptrdiff_t y = 0; y < to.height; ++y) {
        const float *logs = from.row(2 * y);
        float *values = to.row(y);
#pragma omp simd
        for (std::ptrdiff_t x = 0; x < to.width; ++x) values[x] = exponential(logs[2 * x]);
    }
}

}  // namespace

void Stabilizer::step(const Frame &frame, const float *depth, float *result) {
    const std::ptrdiff_t height = frame.height, width = frame.width;
    if (!is_finite(depth, height * width))
        throw ImageError("depth has NaN or Inf: leave such a frame out");
    if (height != height_ || width != width_) resize(height, width);
    take(frame);
    if (age_ == 0 || !follow(depth, result)) {  // a start, or a cut
        const std::size_t bytes = sizeof *depth * frame.pixels();
        std::memcpy(depths_[now_].data, depth, bytes);
        std::memmove(result, depth, bytes);
        scale_ = 1.0, shift_ = 0.0, offset_ = {}, age_ = 0;
    }
    ++age_;
    now_ = 1 - now_;
}

// All that a frame of this size will ever take.
void Stabilizer::resize(std::ptrdiff_t height, std::ptrdiff_t width) {
    age_ = 0, height_ = width_ = 0;  // until all of it is there
    const std::ptrdiff_t half_height = height / 2, half_width = width / 2;
    for (std::size_t i = 0; i < 2; ++i) {
        pictures_[i].pixels = pictures_[i].room.plane(height, 3 * width);
        pictures_[i].pyramid.resize(half_height, half_width);
        depths_[i] = depth_rooms_[i].plane(height, width);
    }
    motion_.resize(pictures_[0].pyramid.level(0));
    for (std::size_t i = 0; i < 3; ++i) halves_[i] = half_rooms_[i].plane(half_height, half_width);
    last_row_ = last_row_room_.plane(3, half_width);
    doubled_ = doubled_room_.plane(2, width);
    likeness_room_.plane(half_height, half_width);
    alike_room_.plane((half_height + 1) / 2, (half_width + 1) / 2);
    for (auto &room : fit_rooms_) room.plane((half_height + 1) / 2, (half_width + 1) / 2);
    height_ = height, width_ = width;
}

void Stabilizer::take(const Frame &frame) {
    Picture &picture = pictures_[now_];
    for (std::ptrdiff_t y = 0; y < height_; ++y) {
        const std::uint8_t *row = frame.rgb + static_cast<std::size_t>(y) * frame.stride;
        std::memcpy(picture.pixels.row(y), row, frame.row());
        if (y % 2 == 1)
            sum_rows(picture.pixels.row(y - 1), picture.pixels.row(y), width_ / 2,
                     halves_[0].row(y / 2), halves_[1].row(y / 2), halves_[2].row(y / 2));
    }
    picture.pyramid.build({halves_[0], halves_[1], halves_[2]});
}

// False at a cut; only then the state is as before.
bool Stabilizer::follow(const float *depth, float *result) {
    Move moved = motion_(pictures_[now_].pyramid, pictures_[1 - now_].pyramid);
    const Shift by_colour = rounded(moved);
    moved = {offset_.down + moved.down, offset_.right + moved.right};
    const Shift by_depth = rounded(moved);
    const auto window = window_of(height_, width_, by_colour, by_depth);
    if (!window) return false;
    compare(*window, by_colour);
    if (is_cut(by_colour)) return false;
    fit(depth, *window, by_depth);
    offset_ = {kKept * (moved.down - static_cast<double>(by_depth.down)),
               kKept * (moved.right - static_cast<double>(by_depth.right))};
    blend(depth, *window, by_depth, result);
    return true;
}

// How alike the colours are: -c^2 / 12^2.
void Stabilizer::compare(const Window &window, Shift moved) {
    likeness_ = likeness_room_.plane(window.height / 2, window.width / 2);
    // Sums of four pixels and over three channels.
    constexpr auto kUnit = static_cast<float>(-1 / (16 * 3 * kColour * kColour));
    const Plane<std::uint8_t> &last = pictures_[1 - now_].pixels;
    const std::ptrdiff_t half = window.left / 2, first = 3 * (window.left - moved.right);
    for (std::ptrdiff_t y = 0; y < likeness_.height; ++y) {
        const std::ptrdiff_t old = window.top + 2 * y - moved.down, now = window.top / 2 + y;
        sum_rows(last.row(old) + first, last.row(old + 1) + first, likeness_.width,
                 last_row_.row(0), last_row_.row(1), last_row_.row(2));
        const std::int16_t *reds = halves_[0].row(now) + half, *greens = halves_[1].row(now) + half,
                           *blues = halves_[2].row(now) + half;
        float *likeness = likeness_.row(y);
        const std::int16_t *red = last_row_.row(0), *green = last_row_.row(1),
                           *blue = last_row_.row(2);
#pragma omp simd
        for (std::ptrdiff_t x = 0; x < likeness_.width; ++x) {
            const auto r = static_cast<std::int16_t>(reds[x] - red[x]);
            const auto g = static_cast<std::int16_t>(greens[x] - green[x]);
            const auto b = static_cast<std::int16_t>(blues[x] - blue[x]);
            const float log = static_cast<float>(r * r + g * g + b * b) * kUnit;
            likeness[x] = log > kLeastLog ? log : kLeastLog;
        }
    }
    alike_ = alike_room_.plane((likeness_.height + 1) / 2, (likeness_.width + 1) / 2);
    exponentials(likeness_, alike_);
}

bool Stabilizer::is_cut(Shift moved) const {
    const std::ptrdiff_t count = alike_.height * alike_.width;
    const float *alike = alike_.data;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (std::ptrdiff_t i = 0; i < count; ++i) sum += alike[i];
    const double share = sum / static_cast<double>(count);
    if (share > kFewAlike) return false;
    if (share < kAlike) return true;
    const auto quarter = [](std::ptrdiff_t step) {  // a half goes to the even number
        return static_cast<std::ptrdiff_t>(std::nearbyint(static_cast<double>(step) / 4));
    };
    return correlate_less({pictures_[now_].pyramid.level(0),
                           pictures_[1 - now_].pyramid.level(0),
                           {quarter(moved.down), quarter(moved.right)}},
                          kCorrelated);
}

// Scale and shift that bring the new depth to the last; the frame before's where none can.
void Stabilizer::fit(const float *depth, const Window &window, Shift moved) {
    const std::ptrdiff_t count = alike_.height * alike_.width;
    double *const x = fit_rooms_[0].plane(alike_.height, alike_.width).data;
    double *const y = fit_rooms_[1].plane(alike_.height, alike_.width).data;
    double *const weight = fit_rooms_[2].plane(alike_.height, alike_.width).data;
    for (std::ptrdiff_t j = 0; j < alike_.height; ++j) {
        const std::ptrdiff_t row = window.top + 4 * j;
        const float *last = last_depth().row(row - moved.down) + window.left - moved.right;
        const float *now = depth + row * width_ + window.left;
        for (std::ptrdiff_t i = 0; i < alike_.width; ++i)
            x[j * alike_.width + i] = last[4 * i], y[j * alike_.width + i] = now[4 * i];
    }
    const float *alike = alike_.data;
    double a = 1.0, b = 0.0;
    for (int round = 0; round < kRounds; ++round) {
        double total = 0.0, sum_x = 0.0, sum_y = 0.0;
#pragma omp simd reduction(+ : total, sum_x, sum_y)
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const double off = (y[i] - a * x[i] - b) / kResidual;
            const double damped = 1 + off * off;
            const double w = round == 0 ? alike[i] : alike[i] / (damped * damped);
            weight[i] = w;
            total += w, sum_x += w * x[i], sum_y += w * y[i];
        }
        if (total < std::min(kFewest, 0.1 * static_cast<double>(count))) return;
        const double mean_x = sum_x / total, mean_y = sum_y / total;
        double spread = 0.0, slope = 0.0;
#pragma omp simd reduction(+ : spread, slope)
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const double along = weight[i] * (x[i] - mean_x);
            spread += along * (x[i] - mean_x), slope += along * (y[i] - mean_y);
        }
        if (spread < 1e-6 * total || !(0.25 * spread < slope && slope < 4 * spread)) {
            a = 1 / scale_, b = mean_y - mean_x / scale_;  // flat: only a shift can be told
            break;
        }
        a = slope / spread;
        b = mean_y - a * mean_x;
    }
    const double scale = 1 / a, shift = -b / a;
    scale_ = scale + kHome * (1 - scale), shift_ = shift - kHome * shift;
}

void Stabilizer::blend(const float *depth, const Window &window, Shift moved, float *result) {
    const auto scale = static_cast<float>(scale_), shift = static_cast<float>(shift_);
    const auto trust = static_cast<float>(std::log(kTrust));
    const auto most = static_cast<float>(std::log(kKept));
    constexpr auto kUnit = static_cast<float>(-1 / (kDepth * kDepth));
    const float nothing = exponential(kLeastLog);  // which a pixel gone wild could still multiply
    for (std::ptrdiff_t y = 0; y < height_; ++y) {
        const float *raw = depth + y * width_;
        float *const whole = depths_[now_].row(y);
#pragma omp simd
        for (std::ptrdiff_t x = 0; x < width_; ++x) whole[x] = raw[x] * scale + shift;
        const std::ptrdiff_t row = y - window.top;
        if (row >= 0 && row < window.height) {
            // The likeness of 2x2 pixels; the last also where a side is odd.
            const float *half = likeness_.row(std::min(row / 2, likeness_.height - 1));
            float *const doubled = doubled_.row(0), *const logs = doubled_.row(1);
            for (std::ptrdiff_t x = 0; x < likeness_.width; ++x)
                doubled[2 * x] = doubled[2 * x + 1] = half[x] + trust;
            if (window.width % 2 == 1) doubled[window.width - 1] = doubled[window.width - 2];
            float *now = whole + window.left;
            const float *last = last_depth().row(y - moved.down) + window.left - moved.right;
#pragma omp simd
            for (std::ptrdiff_t x = 0; x < window.width; ++x) {
                const float change = last[x] - now[x];
                const float log = change * change * kUnit + doubled[x];
                const float bounded = log < most ? log : most;
                logs[x] = bounded > kLeastLog ? bounded : kLeastLog;
            }
#pragma omp simd
            for (std::ptrdiff_t x = 0; x < window.width; ++x)
                now[x] += (exponential(logs[x]) - nothing) * (last[x] - now[x]);
        }
        std::memcpy(result + y * width_, whole, sizeof *whole * static_cast<std::size_t>(width_));
    }
}

}  // namespace apdepth::detail
