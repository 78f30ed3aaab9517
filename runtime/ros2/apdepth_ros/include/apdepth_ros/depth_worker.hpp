// Takes frames as they come, works on the latest alone. Knows nothing about ROS.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace apdepth_ros {

// A frame on its way: uint8 RGB without gaps, and whatever its depth is to be published with.
struct Frame {
    std::vector<std::uint8_t> rgb;
    int height = 0;
    int width = 0;
    std::shared_ptr<const void> context;
};

// A thread that turns the latest frame into depth.
//
// There is room for one frame beside the one in work: a newer one takes the place of the one that
// waits, so that latency never builds up when frames come faster than depth. `dropped` counts
// them.
class DepthWorker {
  public:
    using Clock = std::chrono::steady_clock;
    // Depth [height][width] of a frame; may throw.
    using Predict = std::function<void(const Frame &frame, std::vector<float> &depth)>;
    // Called on the worker's thread, for each frame in work.
    using Done = std::function<void(const Frame &frame, const std::vector<float> &depth)>;
    using Failed = std::function<void(const Frame &frame, const std::string &why)>;

    // `rate`: depth maps per second at most; 0 for as many as can be.
    DepthWorker(Predict predict, Done done, Failed failed, double rate);
    // Ends after the frame in work; the one that waits is dropped.
    ~DepthWorker();
    DepthWorker(const DepthWorker &) = delete;
    DepthWorker &operator=(const DepthWorker &) = delete;

    // Never blocks for longer than a swap of pointers.
    void submit(Frame frame);

    std::uint64_t dropped() const;

  private:
    void work();
    bool next(Frame &frame);
    void finish(const Frame &frame);

    Predict predict_;
    Done done_;
    Failed failed_;
    Clock::duration pause_;  // from the start of one frame to the start of the next
    Clock::time_point earliest_ = Clock::now();
    std::vector<float> depth_;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Frame waiting_;
    bool has_waiting_ = false;
    bool stopping_ = false;
    std::uint64_t dropped_ = 0;
    std::thread thread_;
};

}  // namespace apdepth_ros
