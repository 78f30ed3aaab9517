// What the header promises: one handle for many threads, and one each.
#include <cmath>
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

// Grey frames of a size of the thread's own.
void infer_images(const apdepth::Predictor &predictor, unsigned thread) {
    const int side = 40 + static_cast<int>(thread);
    const auto value = static_cast<std::uint8_t>(20 * thread);
    const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(side * side), value);
    const apdepth_image image = {pixels.data(), side, side, 0, APDEPTH_GREY, nullptr, 0};
    for (unsigned i = 0; i < kFrames; ++i)
        for (const float depth : predictor.depth(image))
            CHECK(std::abs(depth - static_cast<float>(value) / 255) < 1e-5f);
    CHECK(predictor.timings().convert_ms > 0);
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
    in_threads([&](unsigned thread) { infer_images(shared, thread); });
    in_threads([](unsigned thread) { infer_many(apdepth::Predictor(mean_bundle()), thread); });
}
