#include "apdepth_ros/depth_worker.hpp"

#include <utility>

namespace apdepth_ros {
namespace {

DepthWorker::Clock::duration pause_of(double rate) {
    if (!(rate > 0)) return {};
    return std::chrono::duration_cast<DepthWorker::Clock::duration>(
        std::chrono::duration<double>(1.0 / rate));
}

}  // namespace

DepthWorker::DepthWorker(Predict predict, Done done, Failed failed, double rate)
    : predict_(std::move(predict)),
      done_(std::move(done)),
      failed_(std::move(failed)),
      pause_(pause_of(rate)),
      thread_([this] { work(); }) {}

DepthWorker::~DepthWorker() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void DepthWorker::submit(Frame frame) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (has_waiting_) ++dropped_;
        std::swap(waiting_, frame);
        has_waiting_ = true;
    }
    changed_.notify_one();  // the frame that was dropped is freed outside of the lock
}

std::uint64_t DepthWorker::dropped() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return dropped_;
}

void DepthWorker::work() {
    for (Frame frame; next(frame);) finish(frame);
}

// Wait for the rate's next moment, then for a frame; false at the end.
bool DepthWorker::next(Frame &frame) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_until(lock, earliest_, [this] { return stopping_; });
    changed_.wait(lock, [this] { return stopping_ || has_waiting_; });
    if (stopping_) return false;
    frame = std::move(waiting_);
    has_waiting_ = false;
    earliest_ = Clock::now() + pause_;
    return true;
}

void DepthWorker::finish(const Frame &frame) {
    try {
        predict_(frame, depth_);
    } catch (const std::exception &error) {
        failed_(frame, error.what());
        return;
    }
    done_(frame, depth_);
}

}  // namespace apdepth_ros
