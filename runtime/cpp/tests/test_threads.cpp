// What the header promises: one handle for many threads, and one each.
#include <thread>
#include <vector>

#include "apdepth.hpp"
#include "bundles.hpp"
#include "check.hpp"

namespace {

constexpr unsigned kThreads = 8, kFrames = 25;

void infer_many(const apdepth::Predictor &predictor, unsigned thread) {
    std::vector<float> depth(kHeight * kWidth);
    for (unsigned i = 0; i < kFrames; ++i) {
        const std::size_t stride = 3 * kWidth + (i % 2) * 5;
        const std::vector<std::uint8_t> frame = make_frame(thread * kFrames + i, stride);
        predictor.infer({frame.data(), kHeight, kWidth, stride}, depth);
        CHECK(is_mean(depth, frame, stride));
        CHECK(predictor.info().width.opt == kWidth);
    }
}

template <class Work>
void in_threads(Work work) {
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
    for (std::thread &thread : threads) thread.join();
}

}  // namespace

int main() {
    const apdepth::Predictor shared(mean_bundle());
    in_threads([&](unsigned thread) { infer_many(shared, thread); });
    in_threads([](unsigned thread) { infer_many(apdepth::Predictor(mean_bundle()), thread); });
}
