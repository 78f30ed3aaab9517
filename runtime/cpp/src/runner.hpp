// What every backend offers: frames in, depth out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "bundle.hpp"

namespace apdepth::detail {

// Frames of one size in host memory, uint8 RGB, one below the other; `stride` in bytes.
struct Frame {
    const std::uint8_t *rgb;
    int height, width;
    std::size_t stride;
    int count = 1;

    std::size_t row() const { return 3 * static_cast<std::size_t>(width); }
    // Of one.
    std::size_t pixels() const {
        return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    }
    bool has_gaps() const { return stride != row(); }
};

// Frames in device memory, without gaps.
struct DeviceFrames {
    const std::uint8_t *rgb;
    int batch, height, width;
    float *depth;
    void *stream;
};

class Runner {
  public:
    virtual ~Runner() = default;

    // Depth of frames of a size that `frame` allows, and not more than it allows at once, float32
    // [count,H,W]. Safe to call from several threads. Throws BackendError.
    virtual void infer(const Frame &image, float *depth) = 0;

    // See apdepth_infer_async; checks the sizes itself. Throws UsageError, ImageError or
    // BackendError.
    virtual void infer_async(const DeviceFrames &frames) = 0;

    // Make working memory for so many calls side by side. Throws BackendError.
    virtual void make_lanes(int lanes) = 0;

    // How many frames the graph runs for so many: at least as many as it must.
    int batch_for(int count) const { return std::max(frame.batch.min, count); }

    FrameRange frame{};  // sizes that the graph takes
    int stride = 1;
    std::string backend, device, precision, reason, warning;
};

// Throws ImageError for frames of a size that the runner's graph doesn't take.
void check_size(const Runner &runner, int batch, int height, int width);

// Throws ImageError for a side below 2, or a size that no memory holds: where there is no graph that
// says which sizes it takes.
void check_sides(int height, int width);

// Throws ImageError for rows that overlap, or lead out of memory.
void check_stride(const Frame &image);

// All of the frames, without gaps, into `target`: `batch` of them, filled with copies of the last.
void copy_frames(const Frame &image, int batch, std::uint8_t *target);

}  // namespace apdepth::detail
