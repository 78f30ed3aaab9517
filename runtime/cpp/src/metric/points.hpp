// Depth and its picture -> coloured points, without those that hang in the air behind edges:
// runtime/metric/points.py says how, and this gives its points.
#pragma once

#include <cstddef>
#include <cstdint>

#include "apdepth.h"

namespace apdepth::detail {

// z float32 [height][width], and its picture: uint8 RGB, `stride` in bytes, or null.
struct Surface {
    const float *z;
    const std::uint8_t *rgb;
    int height, width;
    std::size_t stride;
};

struct Thinning {
    double ratio;
    int spacing, every;
};

// How many points there are: written to `xyz`, three floats each, and `colours`, three bytes each
// where the surface has a picture.
std::size_t points_of(const Surface &surface, const apdepth_camera &camera,
                      const Thinning &thinning, float *xyz, std::uint8_t *colours);

}  // namespace apdepth::detail
