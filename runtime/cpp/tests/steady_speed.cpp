// What the stabiliser and points cost a frame, on one core: medians of runs, in milliseconds, as
// JSON. docs/cpp.md has them.
//
//   apdepth_steady_speed [RUNS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "apdepth.hpp"
#include "streams.hpp"

namespace {

double median_ms(int runs, const std::function<void(int)> &work) {
    std::vector<double> taken;
    for (int i = -5; i < runs; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work(i + 5);
        const std::chrono::duration<double, std::milli> time =
            std::chrono::steady_clock::now() - start;
        if (i >= 0) taken.push_back(time.count());
    }
    std::nth_element(taken.begin(), taken.begin() + runs / 2, taken.end());
    return taken[static_cast<std::size_t>(runs / 2)];
}

}  // namespace

int main(int argc, char **argv) {
    const int runs = argc > 1 ? std::max(1, std::atoi(argv[1])) : 200;
    const World world(0);
    std::printf("{");
    for (const auto &[height, width] : {std::pair{240, 320}, {480, 640}, {720, 1280}}) {
        Drawn drawn(1);
        std::vector<Shot> shots;  // there and back, by a step of one pixel
        for (int i = 0; i < 8; ++i) shots.push_back(world.shot(20, 20 + i, height, width, drawn));
        std::vector<float> out(shots[0].depth.size());
        apdepth::Stabilizer stabilizer;
        const double steady = median_ms(runs, [&](int number) {
            const Shot &shot = shots[static_cast<std::size_t>(std::abs(number % 14 - 7))];
            stabilizer.steady({shot.rgb.data(), height, width}, shot.depth.data(), out.data());
        });
        apdepth::Cloud cloud;
        const apdepth_camera camera{500, 500, width / 2.0, height / 2.0};
        const double points = median_ms(runs, [&](int) {
            apdepth::points(shots[0].truth, {shots[0].rgb.data(), height, width}, camera, {},
                            cloud);
        });
        std::printf("%s\"%dx%d\": {\"stabiliser\": %.3f, \"points\": %.3f}",
                    height == 240 ? "" : ", ", height, width, steady, points);
    }
    std::printf("}\n");
}
