// Rows of metres: where the time of a frame goes.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "field.hpp"

namespace apdepth::detail {

// exp(field) at every pixel of a picture: bilinear between the cells' centres, constant beyond the
// outer ones.
class FieldOver {
  public:
    void prepare(const Field &field, Shape picture);  // which must stay
    const float *factors(int row);                    // [width]; until the next call

  private:
    const Field *field_ = nullptr;
    Shape picture_{0, 0};
    std::vector<float> between_;       // of each pixel: the share of the way to the next cell
    std::vector<std::size_t> begins_;  // the first pixel after each cell's centre
    std::vector<float> cells_, row_;   // the field in a row, at cells and at pixels
};

struct MetresOfRow {
    float scale = 0.0f, shift = 0.0f;
    // Relative depth from .. to that metres are given for.
    float low = -std::numeric_limits<float>::infinity();
    float high = std::numeric_limits<float>::infinity();

    // `factor`: [width], or NULL for ones. `metres` may be `depth`.
    void fill(const float *depth, const float *factor, std::size_t width, float *metres) const;
};

}  // namespace apdepth::detail
