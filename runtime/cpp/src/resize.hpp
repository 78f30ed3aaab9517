// Resizing as Python does it (apdepth_deploy/pictures/image.py), which is Pillow's antialiased
// bilinear: a triangle as wide as the step, along rows and down columns, rounded after each; bytes by
// weights of 22 bits, floats by weights in double. Knows nothing about engines.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace apdepth::detail {

// Which samples of a line each sample of the other is made of, and by what weights.
class Axis {
  public:
    // Costs nothing where the sizes are those of the last call.
    void prepare(int from, int to);

    int from() const { return from_; }
    int to() const { return to_; }
    int first(int at) const { return first_[static_cast<std::size_t>(at)]; }
    int count(int at) const { return count_[static_cast<std::size_t>(at)]; }
    const double *weights(int at) const { return weights_.data() + at * std::ptrdiff_t{taps_}; }
    const int *fixed(int at) const { return fixed_.data() + at * std::ptrdiff_t{taps_}; }

  private:
    int from_ = 0, to_ = 0, taps_ = 0;
    std::vector<int> first_, count_, fixed_;  // fixed_: in steps of 2^-22
    std::vector<double> weights_;
};

// One row of RGB of the picture that is resized.
using RgbRow = std::function<const std::uint8_t *(int y)>;

struct Size {
    int height, width;

    std::size_t pixels() const {
        return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    }
    bool operator==(const Size &other) const {
        return height == other.height && width == other.width;
    }
};

// Keeps its memory: what follows the first picture of a size allocates nothing. For one thread at a
// time.
class Resizer {
  public:
    // uint8 [H,W,3] -> uint8 [h,w,3], without gaps.
    void rgb(const RgbRow &row, Size from, std::uint8_t *target, Size to);

    // float32 [H,W] -> float32 [h,w], without gaps.
    void depth(const float *source, Size from, float *target, Size to);

  private:
    template <class Sample, class Sum>
    struct Way {
        Axis columns, rows;
        std::vector<Sample> between;  // after the first of two passes
        std::vector<Sum> sums;
    };

    template <int kChannels, class Sample, class Sum, class Row>
    static void resize(Way<Sample, Sum> &way, const Row &row, Size from, Sample *target, Size to);

    Way<std::uint8_t, int> rgb_;
    Way<float, double> depth_;
};

}  // namespace apdepth::detail
