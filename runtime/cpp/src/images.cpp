#include "images.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "boundary.hpp"
#include "pixels.hpp"

namespace apdepth::detail {
namespace {

// The frame's side for a picture's: the fixed one, or the nearest that the range allows.
int fit(int side, const apdepth_range &range, int stride) {
    if (range.min == range.max) return range.min;
    const double steps = std::nearbyint(static_cast<double>(side) / stride);
    return static_cast<int>(std::clamp(steps * stride, double(range.min), double(range.max)));
}

Size size_for(const Runner &runner, const apdepth_image &image) {
    return {fit(image.height, runner.frame.height, runner.stride),
            fit(image.width, runner.frame.width, runner.stride)};
}

Size size_of(const apdepth_image &image) { return {image.height, image.width}; }

// Adds the milliseconds since it was made, or since the last call.
class Stopwatch {
  public:
    void add_to(double &total) {
        const auto now = std::chrono::steady_clock::now();
        total += std::chrono::duration<double, std::milli>(now - start_).count();
        start_ = now;
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Timings Workspace::infer(Runner &runner, const apdepth_image *images, int count,
                         float *const *depths) {
    for (int i = 0; i < count; ++i) {
        check_image(images[i]);
        require(depths[i], "depth");
    }
    Timings timings;
    for (int done = 0; done < count;) {
        const int some = together(runner, images + done, count - done);
        run(runner, images + done, some, depths + done, timings);
        done += some;
    }
    return timings;
}

int Workspace::together(const Runner &runner, const apdepth_image *images, int count) {
    const int most = std::min(count, runner.frame.batch.max);
    int some = 1;
    while (some < most && size_for(runner, images[some]) == size_for(runner, images[0])) ++some;
    return some;
}

void Workspace::run(Runner &runner, const apdepth_image *images, int count, float *const *depths,
                    Timings &timings) {
    const Size size = size_for(runner, images[0]);
    const std::size_t pixels = size.pixels(), row = 3 * static_cast<std::size_t>(size.width);
    Stopwatch watch;
    Frame frame{images[0].data, size.height, size.width, row, count};
    const bool is_alone = count == 1 && size_of(images[0]) == size;
    if (is_alone && is_rgb(images[0]) && stride_of(images[0]) > 0) {
        frame.stride = static_cast<std::size_t>(stride_of(images[0]));
    } else {
        frames_.resize(3 * pixels * static_cast<std::size_t>(count));
        frame.rgb = frames_.data();
        for (int i = 0; i < count; ++i)
            convert(images[i], size, frames_.data() + 3 * pixels * static_cast<std::size_t>(i));
    }
    watch.add_to(timings.convert);
    if (!is_alone) depths_.resize(pixels * static_cast<std::size_t>(count));
    runner.infer(frame, is_alone ? depths[0] : depths_.data());
    watch.add_to(timings.infer);
    for (int i = 0; i < count && !is_alone; ++i)
        resizer_.depth(depths_.data() + pixels * static_cast<std::size_t>(i), size, depths[i],
                       size_of(images[i]));
    watch.add_to(timings.resize);
}

void Workspace::convert(const apdepth_image &image, Size size, std::uint8_t *target) {
    row_.resize(3 * static_cast<std::size_t>(image.width));
    const auto row = [&image, this](int y) { return rgb_row(image, y, row_.data()); };
    resizer_.rgb(row, size_of(image), target, size);
}

Timings Workspaces::infer(Runner &runner, const apdepth_image *images, int count,
                          float *const *depths) {
    std::unique_ptr<Workspace> workspace;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!idle_.empty()) {
            workspace = std::move(idle_.back());
            idle_.pop_back();
        }
    }
    if (!workspace) workspace = std::make_unique<Workspace>();
    const Timings timings = workspace->infer(runner, images, count, depths);
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(workspace));
    return timings;
}

}  // namespace apdepth::detail
