// Images through a runner that computes the mean: memory and batches.
#include <cmath>
#include <vector>

#include "allocations.hpp"
#include "check.hpp"
#include "images.hpp"

using namespace apdepth::detail;

namespace {

class MeanRunner final : public Runner {
  public:
    MeanRunner(apdepth_range batch, int height, int width) {
        frame = {batch, {height, height, height}, {width, width, width}};
        stride = 8;
    }

    void infer(const Frame &image, float *depth) override {
        CHECK(image.count <= frame.batch.max && !image.has_gaps());
        ++runs;
        for (std::size_t i = 0; i < image.pixels() * static_cast<std::size_t>(image.count); ++i)
            depth[i] =
                static_cast<float>(image.rgb[3 * i] + image.rgb[3 * i + 1] + image.rgb[3 * i + 2]) /
                765.0f;
    }
    void infer_async(const DeviceFrames &) override {}
    void make_lanes(int) override {}

    int runs = 0;
};

apdepth_image grey(const std::vector<std::uint8_t> &pixels, int height, int width) {
    return {pixels.data(), height, width, 0, APDEPTH_GREY, nullptr, 0};
}

void frames_after_the_first_allocate_nothing() {
    MeanRunner runner({1, 1, 4}, 48, 64);
    Workspaces workspaces;
    const std::vector<std::uint8_t> pixels(4 * 200 * 300, 100);
    std::vector<float> first(200 * 300), second(90 * 60);
    apdepth_image images[] = {grey(pixels, 200, 300), grey(pixels, 90, 60)};
    float *const depths[] = {first.data(), second.data()};
    long before = 0;
    for (int i = 0; i < 8; ++i) {
        if (i == 4) before = allocations();
        images[0].format = i % 4 == 0 ? APDEPTH_NV12 : i % 4 == 1 ? APDEPTH_BGRA : APDEPTH_GREY;
        if (images[0].format == APDEPTH_NV12) images[0].chroma = pixels.data();
        workspaces.infer(runner, images, 2, depths);
        for (const float value : second) CHECK(std::abs(value - 100 / 255.0f) < 1e-6f);
    }
    CHECK(allocations() == before);
    CHECK(runner.runs == 8);  // both at once
}

void runs_are_as_few_as_they_can_be() {
    MeanRunner runner({2, 2, 3}, 16, 16);
    Workspaces workspaces;
    const std::vector<std::uint8_t> pixels(16 * 16, 50);
    std::vector<float> depth(16 * 16);
    const std::vector<apdepth_image> images(7, grey(pixels, 16, 16));
    const std::vector<float *> depths(7, depth.data());
    workspaces.infer(runner, images.data(), 7, depths.data());
    CHECK(runner.runs == 3);
}

}  // namespace

int main() {
    frames_after_the_first_allocate_nothing();
    runs_are_as_few_as_they_can_be();
}
