#include "runner.hpp"

#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "../error.hpp"
#include "cuda.hpp"
#include "engine.hpp"
#include "lane.hpp"
#include "pool.hpp"

namespace apdepth::detail::tensorrt {
namespace {

class TensorRtRunner final : public Runner {
  public:
    TensorRtRunner(const Bundle &bundle, const Choice &choice)
        : device_(choice.ordinal),
          current_(std::in_place, device_),
          engine_(bundle, choice),
          done_(make_event()) {
        const Engine &entry = choice.engine;
        backend = entry.target;
        device = "cuda:" + std::to_string(choice.ordinal);
        precision = entry.precision;
        frame = entry.frame;
        warning = choice.warning;
        reason = backend + " on " + device + ", " + precision + ", fused engine: built for " +
                 choice.gpu.name + " (" + choice.gpu.compute_capability + ")";
        // What doesn't fit in memory is better known now.
        idle_.give_back(std::make_unique<Lane>(engine_, done_.get()));
        current_.reset();
    }

    ~TensorRtRunner() override {
        try {
            current_.emplace(device_);
        } catch (const BackendError &) {  // the driver is gone, and the memory with it
        }
    }

    void infer(const Frame &image, float *depth) override {
        const OnDevice current(device_);
        const int batch = batch_for(image.count);
        auto lane = take(idle_, {batch, image.height, image.width});
        lane->infer(image, batch, depth);
        give_back(idle_, std::move(lane));
    }

    void make_lanes(int lanes) override {
        const OnDevice current(device_);
        for (int made = 1; made < lanes; ++made)
            idle_.give_back(std::make_unique<Lane>(engine_, done_.get()));
    }

    void infer_async(const DeviceFrames &given) override {
        check_size(*this, given.batch, given.height, given.width);
        const OnDevice current(device_);
        if (is_capturing(static_cast<cudaStream_t>(given.stream)))
            throw UsageError("the stream is being captured in a CUDA graph: call outside of it");
        DeviceFrames frames = given;
        frames.rgb = static_cast<const std::uint8_t *>(reached(given.rgb, "rgb"));
        frames.depth = static_cast<float *>(reached(given.depth, "depth"));
        auto lane = take(queued_, {frames.batch, frames.height, frames.width});
        {
            const std::lock_guard<std::mutex> lock(queue_mutex_);
            lane->enqueue(frames);
        }
        give_back(queued_, std::move(lane));
    }

  private:
    // A lane that failed is not given back.
    std::unique_ptr<Lane> take(Pool &pool, const Sizes &sizes) {
        if (auto lane = pool.take(sizes)) return lane;
        try {
            return std::make_unique<Lane>(engine_, done_.get());
        } catch (const BackendError &) {
            if (auto lane = pool.take_any()) return lane;
            throw;
        }
    }

    void give_back(Pool &pool, std::unique_ptr<Lane> lane) {
        if (lane->is_first()) engine_.keep_kernels(lane->sizes());
        pool.give_back(std::move(lane));
    }

    // The address by which the engine's device finds the caller's memory.
    void *reached(const void *memory, const char *name) const {
        if (void *address = reach(memory)) return address;
        const int place = device_of(memory);
        const std::string where =
            place < 0 ? "memory that is on no GPU" : "cuda:" + std::to_string(place);
        throw ImageError(std::string(name) + " is on " + where + " and the engine on " + device +
                         ": copy it there");
    }

    Device device_;
    std::optional<OnDevice> current_;  // while the members below are made and destroyed
    LoadedEngine engine_;
    Event done_;              // of infer_async's last run
    std::mutex queue_mutex_;  // of its order
    Pool idle_, queued_;      // for infer; for infer_async, perhaps still at work
};

}  // namespace

std::unique_ptr<Runner> make_runner(const Bundle &bundle, const Choice &choice) {
    return std::make_unique<TensorRtRunner>(bundle, choice);
}

}  // namespace apdepth::detail::tensorrt
