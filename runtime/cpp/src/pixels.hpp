// A camera's formats as rows of RGB: runtime/ros/pixels.py computes the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "apdepth.h"

namespace apdepth::detail {

// Throws UsageError for a null pointer or an unknown format, ImageError for a size that the format
// or Python's predictor doesn't take, or rows that overlap or lead out of memory.
void check_image(const apdepth_image &image);

// Whether its rows can be used as they lie.
inline bool is_rgb(const apdepth_image &image) { return image.format == APDEPTH_RGB; }

// From one row down to the next.
std::ptrdiff_t stride_of(const apdepth_image &image);

// Row `y` as RGB: where it lies, or converted into `scratch`, which has room for 3 * width bytes.
const std::uint8_t *rgb_row(const apdepth_image &image, int y, std::uint8_t *scratch);

}  // namespace apdepth::detail
