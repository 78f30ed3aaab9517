// Relative depth, frame after frame, made steadier: runtime/metric/stabilizer.py says how, and this
// gives its numbers.
#pragma once

#include <array>
#include <cstdint>

#include "metric/motion.hpp"
#include "metric/plane.hpp"
#include "runner.hpp"

namespace apdepth::detail {

// The part of a frame that the last one saw, too; it begins at even places.
struct Window {
    std::ptrdiff_t top, left, height, width;
};

class Stabilizer {
  public:
    // The next frame's depth, steadied, into `result`, which may be `depth` itself. Throws
    // ImageError for depth that isn't finite, with the state as before. Memory is asked for only
    // for a frame of another size than the last.
    void step(const Frame &frame, const float *depth, float *result);
    // A new start, in the memory there is.
    void reset() { age_ = 0; }
    // Frames since the start or the last cut.
    long long age() const { return age_; }

  private:
    // A frame without gaps, and how it looks from afar.
    struct Picture {
        Room<std::uint8_t> room;
        Plane<std::uint8_t> pixels;
        Pyramid pyramid;
    };

    void resize(std::ptrdiff_t height, std::ptrdiff_t width);
    void take(const Frame &frame);
    bool follow(const float *depth, float *result);
    void compare(const Window &window, Shift moved);
    bool is_cut(Shift moved) const;
    void fit(const float *depth, const Window &window, Shift moved);
    void blend(const float *depth, const Window &window, Shift moved, float *result);
    Plane<const float> last_depth() const { return depths_[1 - now_]; }

    std::ptrdiff_t height_ = 0, width_ = 0;
    long long age_ = 0;  // 0: there is no last frame
    double scale_ = 1.0, shift_ = 0.0;
    Move offset_;

    // Of this frame and of the last, in turns.
    std::size_t now_ = 0;
    std::array<Picture, 2> pictures_;
    std::array<Room<float>, 2> depth_rooms_;
    std::array<Plane<float>, 2> depths_;

    // Work memory, of one step.
    MotionSearch motion_;
    std::array<Room<std::int16_t>, 3> half_rooms_;
    std::array<Plane<std::int16_t>, 3> halves_;
    Room<std::int16_t> last_row_room_;
    Plane<std::int16_t> last_row_;
    Room<float> likeness_room_, doubled_room_, alike_room_;
    Plane<float> likeness_, doubled_, alike_;  // logarithms, for 2x2 pixels; and not, of every 2nd
    std::array<Room<double>, 3> fit_rooms_;
};

}  // namespace apdepth::detail
