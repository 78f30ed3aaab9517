#include "runner.hpp"

#include <cstring>

#include "error.hpp"

namespace apdepth::detail {
namespace {

std::string extent_text(const apdepth_range &range) {
    if (range.min == range.max) return std::to_string(range.min);
    return "[" + std::to_string(range.min) + ", " + std::to_string(range.opt) + ", " +
           std::to_string(range.max) + "]";
}

bool within(int size, const apdepth_range &range, int step = 1) {
    return range.min <= size && size <= range.max && size % step == 0;
}

}  // namespace

void check_size(const Runner &runner, int batch, int height, int width) {
    const FrameRange &takes = runner.frame;
    if (within(batch, takes.batch) && within(height, takes.height, runner.stride) &&
        within(width, takes.width, runner.stride))
        return;
    const bool ranges = takes.height.min < takes.height.max || takes.width.min < takes.width.max;
    throw ImageError(
        "this " + std::string(runner.backend == "openvino" ? "graph" : "engine") +
        " takes frames uint8 [" + extent_text(takes.batch) + ", " + extent_text(takes.height) +
        ", " + extent_text(takes.width) + ", 3]" +
        (ranges ? " with sides in multiples of " + std::to_string(runner.stride) : "") +
        ", not uint8 [" + std::to_string(batch) + ", " + std::to_string(height) + ", " +
        std::to_string(width) + ", 3]: resize the frame, or export at the camera's size");
}

void copy_frame(const Frame &image, int copies, std::uint8_t *target) {
    const std::size_t size = 3 * image.pixels();
    if (image.has_gaps())
        for (int y = 0; y < image.height; ++y)
            std::memcpy(target + static_cast<std::size_t>(y) * image.row(),
                        image.rgb + static_cast<std::size_t>(y) * image.stride, image.row());
    else std::memcpy(target, image.rgb, size);
    for (int copy = 1; copy < copies; ++copy)
        std::memcpy(target + static_cast<std::size_t>(copy) * size, target, size);
}

}  // namespace apdepth::detail
