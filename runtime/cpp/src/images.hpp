// Frames of any size and format through a runner, depth at their own size: runtime/predictor.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "resize.hpp"
#include "runner.hpp"

namespace apdepth::detail {

// Milliseconds of one call.
struct Timings {
    double convert = 0, infer = 0, resize = 0;
};

// Memory of one call at a time, kept for the next.
class Workspace {
  public:
    // Depth of `count` images, float32 [H,W] each. Throws ImageError and UsageError before anything is
    // run, BackendError.
    Timings infer(Runner &runner, const apdepth_image *images, int count, float *const *depths);

  private:
    // How many of the images, one at least, go through the graph at once.
    static int together(const Runner &runner, const apdepth_image *images, int count);
    void run(Runner &runner, const apdepth_image *images, int count, float *const *depths,
             Timings &timings);
    void convert(const apdepth_image &image, Size size, std::uint8_t *target);

    Resizer resizer_;
    std::vector<std::uint8_t> frames_, row_;
    std::vector<float> depths_;
};

// Workspaces that nobody uses at the moment. Safe to use from several threads.
class Workspaces {
  public:
    // A call that throws takes its workspace along.
    Timings infer(Runner &runner, const apdepth_image *images, int count, float *const *depths);

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace apdepth::detail
