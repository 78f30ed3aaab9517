#include "metres.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "error.hpp"
#include "sentence.hpp"

namespace apdepth::detail {
namespace {

// Sigma of an anchor that doesn't say: so many metres, and so much of its distance.
constexpr double kSigma = 0.02, kSigmaShare = 0.02;
// An anchor in whose 3x3 pixels depth changes by more than this share of the frame's range counts so
// much.
constexpr double kEdge = 0.02, kEdgeTrust = 0.1;
// Anchors agree within so many sigmas, or so many times their spread where that is larger.
constexpr double kAgree = 3.0;
// Fits are not valid where fewer anchors agree, or with a larger median error.
constexpr double kLeastAgree = 0.3, kMostError = 0.3;
// Metres are not known where their sigma is more than this share of them.
constexpr double kMostUnsure = 0.5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string text(Shape shape) {
    return "[" + std::to_string(shape.height) + ", " + std::to_string(shape.width) + "]";
}

// Bilinear; beyond the outer centres the outer value.
double read(const float *depth, Shape picture, double x, double y) {
    x = std::clamp(x, 0.0, picture.width - 1.0), y = std::clamp(y, 0.0, picture.height - 1.0);
    const int column = std::min(static_cast<int>(x), picture.width - 2);
    const int row = std::min(static_cast<int>(y), picture.height - 2);
    const double right = x - column, down = y - row;
    const auto width = static_cast<std::size_t>(picture.width);
    const float *at = depth + static_cast<std::size_t>(row) * width + column;
    const double upper = at[0] * (1.0 - right) + at[1] * right;
    const double lower = at[width] * (1.0 - right) + at[width + 1] * right;
    return upper * (1.0 - down) + lower * down;
}

// Of what is read, without NaN: empty as long as nothing was.
struct Span {
    void take(float value) {
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    float low = std::numeric_limits<float>::infinity();
    float high = -std::numeric_limits<float>::infinity();
};

// Of every fourth pixel of every fourth row; NaN where none is known.
double range_of(const float *depth, Shape picture) {
    Span span;
    for (int row = 0; row < picture.height; row += 4) {
        const float *line =
            depth + static_cast<std::size_t>(row) * static_cast<std::size_t>(picture.width);
        for (int column = 0; column < picture.width; column += 4) span.take(line[column]);
    }
    return span.low <= span.high ? double{span.high} - double{span.low} : kNan;
}

// How much depth changes in the 3x3 pixels around x, y, which lie inside of the picture.
float change_at(const float *depth, Shape picture, double x, double y) {
    const int column =
        std::clamp(static_cast<int>(std::nearbyint(x)), 1, std::max(picture.width - 2, 1));
    const int row =
        std::clamp(static_cast<int>(std::nearbyint(y)), 1, std::max(picture.height - 2, 1));
    const int last_column = std::min(column + 1, picture.width - 1);
    const int last_row = std::min(row + 1, picture.height - 1);
    Span span;
    for (int i = row - 1; i <= last_row; ++i) {
        const float *line =
            depth + static_cast<std::size_t>(i) * static_cast<std::size_t>(picture.width);
        for (int j = column - 1; j <= last_column; ++j) span.take(line[j]);
    }
    return span.high - span.low;
}

}  // namespace

void check_picture(Shape picture) {
    if (picture.height < 2 || picture.width < 2)
        throw ImageError("relative depth of " + text(picture) + " is no picture's");
    constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
    if (static_cast<std::size_t>(picture.height) >
        most / sizeof(float) / static_cast<std::size_t>(picture.width))
        throw ImageError("relative depth of " + text(picture) + " fits no memory");
}

void Metric::fit(const float *depth, Shape picture, const apdepth_anchor *anchors,
                 std::size_t count, bool with_field) {
    check_picture(picture);
    clear();
    take(depth, picture, anchors, count);
    if (tells_a_scale()) {
        trust_edges_less(depth, picture);
        if (line_.fit(d_, z_, sigma_)) judge();
        else Sentence(why_) << "farther anchors lie nearer in the picture: are x, y and z right?";
    }
    found_.valid = why_[0] == '\0' ? 1 : 0;
    if (found_.valid != 0 && with_field) correct(depth, picture);
    picture_ = picture;
    fitted_ = true;
}

void Metric::clear() {
    fitted_ = has_field_ = false;
    why_[0] = '\0';
    found_ = {0, 0, 0, kNan, kNan, {kNan, kNan, kNan, kNan}, kNan, {kNan, kNan}, kNan, why_};
}

// The anchors that can be used.
void Metric::take(const float *depth, Shape picture, const apdepth_anchor *anchors,
                  std::size_t count) {
    for (Doubles *column : {&x_, &y_, &z_, &sigma_, &d_, &off_, &reached_})
        column->clear(), column->reserve(count);
    left_.clear(), left_.reserve(std::min(count, Field::kMost));
    for (std::size_t i = 0; i < count; ++i) {
        const double x = anchors[i].x, y = anchors[i].y, z = anchors[i].z;
        const double sigma =
            anchors[i].sigma == 0.0f ? kSigma + kSigmaShare * z : double{anchors[i].sigma};
        if (!(std::isfinite(z) && z > 0.0 && std::isfinite(sigma) && sigma > 0.0)) continue;
        if (!(x >= -0.5 && x < picture.width - 0.5 && y >= -0.5 && y < picture.height - 0.5))
            continue;
        const double d = read(depth, picture, x, y);
        if (!std::isfinite(d)) continue;
        x_.push_back(x), y_.push_back(y), z_.push_back(z), sigma_.push_back(sigma), d_.push_back(d);
    }
    found_.anchors = static_cast<int>(d_.size());
}

bool Metric::tells_a_scale() {
    if (d_.size() < 2) {
        Sentence(why_) << "a scale and a shift need two anchors in the frame, not "
                       << found_.anchors;
        return false;
    }
    const auto [low, high] = std::minmax_element(d_.begin(), d_.end());
    if (*high - *low >= 1e-4) return true;
    Sentence(why_) << "all " << found_.anchors << " anchors lie at one relative depth ("
                   << Rounded{d_[0], 3} << "), which tells no scale: "
                   << "anchors must be nearer and farther ones";
    return false;
}

void Metric::trust_edges_less(const float *depth, Shape picture) {
    const auto most = static_cast<float>(kEdge * range_of(depth, picture));
    for (std::size_t i = 0; i < d_.size(); ++i)
        if (change_at(depth, picture, x_[i], y_[i]) > most) sigma_[i] /= std::sqrt(kEdgeTrust);
}

// What is to be said of the line, and whether it serves.
void Metric::judge() {
    const double near = kAgree * std::max(line_.spread, 1.0);
    for (std::size_t i = 0; i < d_.size(); ++i) {
        const double off = std::abs(line_.scale * d_[i] + line_.shift - z_[i]);
        if (off <= near * sigma_[i]) off_.push_back(off / z_[i]), reached_.push_back(d_[i]);
    }
    if (off_.empty()) {
        Sentence(why_) << "no anchors agree on a scale and a shift";
        return;
    }
    found_.scale = line_.scale, found_.shift = line_.shift;
    found_.inliers = static_cast<int>(off_.size());
    found_.median_error = median(off_.data(), off_.size());
    line_.covariance(d_, found_.covariance);
    reach(median(reached_.data(), reached_.size()));
    if (found_.inliers < kLeastAgree * found_.anchors)
        Sentence(why_) << "only " << found_.inliers << " of " << found_.anchors
                       << " anchors agree on a scale and a shift";
    else if (found_.median_error > kMostError)
        Sentence(why_) << "anchors and picture don't go together: half of the anchors are off by "
                       << Rounded{100.0 * found_.median_error, 0} << " % or more";
}

// To 1/64 from the `middle` of the anchors' relative depths on.
void Metric::reach(double middle) {
    const double(&c)[4] = found_.covariance;
    double low = 0.0, high = 1.0;
    for (int i = 0; i <= 64; ++i) {
        const double d = i / 64.0, z = found_.scale * d + found_.shift;
        const double unsure = c[0] * d * d + 2.0 * c[1] * d + c[3], most = kMostUnsure * z;
        if (!(z > 0.0 && unsure > most * most)) continue;
        if (d < middle) low = std::max(low, d);
        else high = std::min(high, d);
    }
    found_.reach[0] = low, found_.reach[1] = high;
}

void Metric::correct(const float *depth, Shape picture) {
    const auto told = [this](std::size_t i) { return line_.scale * d_[i] + line_.shift; };
    std::size_t ahead = 0, seen = 0;
    for (std::size_t i = 0; i < d_.size(); ++i) ahead += told(i) > 0.0 ? 1 : 0;
    const std::size_t most = std::min(ahead, Field::kMost);
    for (std::size_t i = 0; i < d_.size() && left_.size() < most; ++i) {
        if (!(told(i) > 0.0) || seen++ != left_.size() * ahead / most) continue;
        const double usual = (kSigma + kSigmaShare * z_[i]) / sigma_[i];
        left_.add(x_[i], y_[i], d_[i], std::log(z_[i] / told(i)), std::min(usual * usual, 1.0));
    }
    has_field_ = field_.fit(depth, picture, left_);
    if (has_field_) found_.held_out_error = field_.error;
}

void Metric::metres(const float *depth, Shape picture, float *metres) {
    check_picture(picture);
    if (!fitted_) throw UsageError("there is no fit yet: call apdepth_fit first");
    const auto height = static_cast<std::size_t>(picture.height);
    const auto width = static_cast<std::size_t>(picture.width);
    if (found_.valid == 0) {
        std::fill_n(metres, height * width, std::numeric_limits<float>::quiet_NaN());
        return;
    }
    if (has_field_ && (picture.height != picture_.height || picture.width != picture_.width))
        throw ImageError("the fit is of depth " + text(picture_) + ", not " + text(picture) +
                         ": fit each frame, or set skip_field for apdepth_fit");
    MetresOfRow of;
    of.scale = static_cast<float>(found_.scale), of.shift = static_cast<float>(found_.shift);
    if (found_.reach[0] > 0.0 || found_.reach[1] < 1.0) {
        of.low = static_cast<float>(found_.reach[0]);
        of.high = static_cast<float>(found_.reach[1]);
    }
    if (has_field_) over_.prepare(field_, picture);
    for (std::size_t row = 0; row < height; ++row) {
        const float *factor = has_field_ ? over_.factors(static_cast<int>(row)) : nullptr;
        of.fill(depth + row * width, factor, width, metres + row * width);
    }
}

}  // namespace apdepth::detail
