#include "rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace apdepth::detail {
namespace {

// Where a pixel lies among cells, as a place between the first one's centre and the last one's.
double place(std::size_t pixel, int side, int cells) {
    const double exact = (static_cast<double>(pixel) + 0.5) * cells / side - 0.5;
    return std::clamp(exact, 0.0, cells - 1.0);
}

// Beyond, the exponential is none that a float holds.
constexpr float kMostExponent = 87.0f;

// exp to 1e-7 of its value, for the loop below: the C library's isn't inlined.
inline float exponential(float x) {
    const float turns = x * 1.44269504f;
    const auto n = static_cast<std::int32_t>(turns + std::copysign(0.5f, turns));
    const auto whole = static_cast<float>(n);
    // ln 2 in two parts: the first has few digits, so that its product with n is exact.
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * r + 1.3981999507e-3f;
    sum = sum * r + 8.3334519073e-3f;
    sum = sum * r + 4.1665795894e-2f;
    sum = sum * r + 1.6666665459e-1f;
    sum = sum * r + 5.0000001201e-1f;
    sum = sum * r * r + r + 1.0f;
    const std::int32_t bits = (n + 127) * (1 << 23);
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

}  // namespace

void FieldOver::prepare(const Field &field, Shape picture) {
    field_ = &field, picture_ = picture;
    const auto width = static_cast<std::size_t>(picture.width);
    const auto cells = static_cast<std::size_t>(field.shape.width);
    between_.resize(width), row_.resize(width), cells_.resize(cells), begins_.assign(cells, width);
    begins_[0] = 0;
    std::size_t cell = 0;
    for (std::size_t pixel = 0; pixel < width; ++pixel) {
        const double at = place(pixel, picture.width, field.shape.width);
        while (cell + 2 < cells && at >= static_cast<double>(cell + 1)) begins_[++cell] = pixel;
        between_[pixel] = static_cast<float>(at - static_cast<double>(cell));
    }
}

const float *FieldOver::factors(int row) {
    const auto width = static_cast<std::size_t>(field_->shape.width);
    const double at = place(static_cast<std::size_t>(row), picture_.height, field_->shape.height);
    const int above = std::min(static_cast<int>(at), field_->shape.height - 2);
    const auto down = static_cast<float>(at - above);
    const float *upper = field_->values.data() + static_cast<std::size_t>(above) * width;
    for (std::size_t i = 0; i < width; ++i)
        cells_[i] = std::clamp(upper[i] * (1.0f - down) + upper[width + i] * down, -kMostExponent,
                               kMostExponent);
    float *values = row_.data();
    const float *between = between_.data();
    for (std::size_t cell = 0; cell + 1 < width; ++cell) {
        const float here = cells_[cell], next = cells_[cell + 1];
        for (std::size_t i = begins_[cell]; i < begins_[cell + 1]; ++i)
            values[i] = here + (next - here) * between[i];
    }
#pragma omp simd
    for (std::size_t i = 0; i < row_.size(); ++i) values[i] = exponential(values[i]);
    return values;
}

void MetresOfRow::fill(const float *depth, const float *factor, std::size_t width,
                       float *metres) const {
    const auto known = [this](float d, float z) {
        constexpr float kInfinite = std::numeric_limits<float>::infinity();
        const bool told = (z > 0.0f) & (z < kInfinite) & (d >= low) & (d <= high);
        return told ? z : std::numeric_limits<float>::quiet_NaN();
    };
    // Each pixel is read before it is written: one memory for both is no hindrance.
    if (factor == nullptr) {
#pragma omp simd
        for (std::size_t i = 0; i < width; ++i)
            metres[i] = known(depth[i], depth[i] * scale + shift);
    } else {
#pragma omp simd
        for (std::size_t i = 0; i < width; ++i)
            metres[i] = known(depth[i], (depth[i] * scale + shift) * factor[i]);
    }
}

}  // namespace apdepth::detail
