#include "pool.hpp"

#include <algorithm>
#include <utility>

namespace apdepth::detail::tensorrt {

std::unique_ptr<Lane> Pool::take(const Sizes &sizes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto ready = std::find_if(idle_.rbegin(), idle_.rend(),
                                    [&](const auto &lane) { return lane->sizes() == sizes; });
    if (ready != idle_.rend()) return remove(std::next(ready).base());
    if (idle_.empty()) return nullptr;
    const bool is_new = idle_.front()->sizes() == Sizes{};
    return is_new || idle_.size() >= most_ ? remove(idle_.begin()) : nullptr;
}

std::unique_ptr<Lane> Pool::take_any() {
    const std::lock_guard<std::mutex> lock(mutex_);
    most_ = 1;
    return idle_.empty() ? nullptr : remove(idle_.begin());
}

void Pool::give_back(std::unique_ptr<Lane> lane) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(lane));
}

std::unique_ptr<Lane> Pool::remove(Lanes::iterator lane) {
    auto taken = std::move(*lane);
    idle_.erase(lane);
    return taken;
}

}  // namespace apdepth::detail::tensorrt
