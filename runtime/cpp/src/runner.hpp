// What every backend offers: frames in, depth out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bundle.hpp"

namespace apdepth::detail {

// One frame in host memory, uint8 RGB; `stride` in bytes.
struct Frame {
    const std::uint8_t *rgb;
    int height, width;
    std::size_t stride;

    std::size_t row() const { return 3 * static_cast<std::size_t>(width); }
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

    // Depth of a frame of a size that `frame` allows, float32 [H,W]. Safe to call from several
    // threads. Throws BackendError.
    virtual void infer(const Frame &image, float *depth) = 0;

    // See apdepth_infer_async; checks the sizes itself. Throws UsageError, ImageError or
    // BackendError.
    virtual void infer_async(const DeviceFrames &frames) = 0;

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

// A whole frame, without gaps, `copies` times, into `target`.
void copy_frame(const Frame &image, int copies, std::uint8_t *target);

}  // namespace apdepth::detail
