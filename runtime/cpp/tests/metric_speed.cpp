// What metres cost a frame, on one core: medians of runs, in milliseconds, as JSON.
//
//   apdepth_metric_speed [RUNS]
//
// docs/cpp.md has them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "apdepth.hpp"
#include "scenes.hpp"

namespace {

double median_ms(int runs, const std::function<void()> &work) {
    work();
    std::vector<double> taken;
    for (int i = 0; i < runs; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work();
        taken.push_back(
            std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
                .count());
    }
    std::nth_element(taken.begin(), taken.begin() + runs / 2, taken.end());
    return taken[static_cast<std::size_t>(runs / 2)];
}

}  // namespace

int main(int argc, char **argv) {
    const int runs = argc > 1 ? std::max(1, std::atoi(argv[1])) : 200;
    const Scene scene(480, 640);
    const apdepth::Depth depth{scene.depth.data(), 480, 640};
    std::vector<float> metres(scene.depth.size());
    apdepth::Metric metric;
    const apdepth_fit_options line{1}, with_field{0};
    std::printf("{");
    for (const int count : {32, 512, 10000}) {
        const std::vector<apdepth_anchor> anchors = scene.anchors(count, 0.2, 1);
        std::printf("\"scale and shift, %d anchors\": %.3f, ", count,
                    median_ms(runs, [&] { metric.fit(depth, anchors, line); }));
        std::printf("\"and field, %d anchors\": %.3f, ", count,
                    median_ms(runs, [&] { metric.fit(depth, anchors, with_field); }));
    }
    std::printf("\"metres with a field\": %.3f, ",
                median_ms(runs, [&] { metric.metres(depth, metres); }));
    const std::vector<apdepth_anchor> anchors = scene.anchors(512, 0.2, 1);
    std::printf("\"all of a frame, 512 anchors\": %.3f, ", median_ms(runs, [&] {
                    metric.fit(depth, anchors, with_field);
                    metric.metres(depth, metres);
                }));
    metric.fit(depth, anchors, line);
    std::printf("\"metres without\": %.3f}\n",
                median_ms(runs, [&] { metric.metres(depth, metres); }));
}
