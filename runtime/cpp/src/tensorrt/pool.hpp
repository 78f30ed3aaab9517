// Lanes that nobody uses at the moment, each ready for the frame size that it ran last.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "lane.hpp"

namespace apdepth::detail::tensorrt {

// Safe to use from several threads: the lock is held to look, never to make or run a lane.
class Pool {
  public:
    // A lane for frames of these sizes: one that is ready for them or new, or the one that was
    // longest idle; nullptr where another should be made.
    std::unique_ptr<Lane> take(const Sizes &sizes);

    // There is no room for another: the lane that was longest idle, from now on always; nullptr
    // where all are in use.
    std::unique_ptr<Lane> take_any();

    void give_back(std::unique_ptr<Lane> lane);

  private:
    using Lanes = std::vector<std::unique_ptr<Lane>>;
    std::unique_ptr<Lane> remove(Lanes::iterator lane);

    std::mutex mutex_;
    Lanes idle_;  // the longest idle first
    // As many sizes are kept ready: each has activations of its own.
    std::size_t most_ = 4;
};

}  // namespace apdepth::detail::tensorrt
