// How far a picture has moved as a whole since the last one: runtime/metric/motion.py says how.
#pragma once

#include <array>
#include <cstdint>

#include "metric/plane.hpp"

namespace apdepth::detail {

// Whole pixels.
struct Shift {
    std::ptrdiff_t down = 0, right = 0;
};

// Pixels and their parts.
struct Move {
    double down = 0.0, right = 0.0;
};

// R, G and B summed over 2x2 pixels, a plane each, exact.
using Halves = std::array<Plane<const std::int16_t>, 3>;

// R + G + B, summed over 4x4, 8x8 and 16x16 pixels; odd rows and columns at the end drop.
class Pyramid {
  public:
    // Memory for pictures whose halves are of this size.
    void resize(std::ptrdiff_t height, std::ptrdiff_t width);
    void build(const Halves &halves);
    // 0, the largest, to 2.
    Plane<const std::int32_t> level(std::size_t number) const { return levels_[number]; }

  private:
    Room<std::int32_t> row_room_;
    Plane<std::int32_t> row_;
    std::array<Room<std::int32_t>, 3> rooms_;
    std::array<Plane<std::int32_t>, 3> levels_;
};

// The parts of two pictures that lie on each other when the last is moved.
struct Overlap {
    Plane<const std::int32_t> now, last;
    Shift shift;
    std::ptrdiff_t height, width;

    Overlap(Plane<const std::int32_t> now_, Plane<const std::int32_t> last_, Shift moved);
    const std::int32_t *now_row(std::ptrdiff_t y) const;
    const std::int32_t *last_row(std::ptrdiff_t y) const;
    std::ptrdiff_t size() const { return height * width; }
};

// The search, and the memory of its least squares.
class MotionSearch {
  public:
    // Memory for a pyramid's largest level.
    void resize(Plane<const std::int32_t> level);
    // new(p) = last(p - move), in pixels of the frame.
    Move operator()(const Pyramid &now, const Pyramid &last);

  private:
    Move rest(const Overlap &both);

    std::array<Room<float>, 3> rooms_;
    Plane<float> late_, down_, right_;
};

// Whether two pictures' largest levels correlate by less than `least` where they overlap.
bool correlate_less(const Overlap &both, double least);

}  // namespace apdepth::detail
