#include "runner.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

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

void check_sides(int height, int width) {
    const std::string size = std::to_string(width) + "x" + std::to_string(height) + " pixels ";
    if (std::min(height, width) < 2)
        throw ImageError(size + "is too small: both sides must have at least 2");
    // Of 64 bytes a pixel, which is more than any of this library's work takes.
    constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max() / 64;
    if (height > most / width) throw ImageError(size + "are more than memory holds");
}

void check_stride(const Frame &image) {
    if (image.stride < image.row())
        throw ImageError("a stride of " + std::to_string(image.stride) +
                         " bytes is less than a row of " + std::to_string(image.width) +
                         " RGB pixels: it must be " + std::to_string(image.row()) + " or more");
    constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
    if (image.stride > most / static_cast<std::size_t>(image.height))
        throw ImageError("a stride of " + std::to_string(image.stride) +
                         " bytes leads out of memory: rows lie from the top down, a stride apart");
}

void copy_frames(const Frame &image, int batch, std::uint8_t *target) {
    const auto count = static_cast<std::size_t>(image.count);
    const std::size_t size = 3 * image.pixels();
    const std::size_t rows = count * static_cast<std::size_t>(image.height);
    if (image.has_gaps())
        for (std::size_t y = 0; y < rows; ++y)
            std::memcpy(target + y * image.row(), image.rgb + y * image.stride, image.row());
    else std::memcpy(target, image.rgb, count * size);
    const std::uint8_t *last = target + (count - 1) * size;
    for (std::size_t copy = count; copy < static_cast<std::size_t>(batch); ++copy)
        std::memcpy(target + copy * size, last, size);
}

}  // namespace apdepth::detail
