// How long a frame takes through the C API: percentiles and JSON of `apdepth-deploy profile`.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "apdepth.hpp"
#include "arguments.hpp"
#include "report.hpp"

namespace {

constexpr const char *kUsage =
    "usage: apdepth_bench BUNDLE [--backend B] [--precision P] [--device D] [--runs N] [--warm-up "
    "N]\n"
    "Prints JSON with the fields of `apdepth-deploy profile --json`.\n";

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

std::vector<std::uint8_t> ramp(int height, int width) {
    std::vector<std::uint8_t> rgb(3 * static_cast<std::size_t>(height) *
                                  static_cast<std::size_t>(width));
    for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i / 7 % 256);
    return rgb;
}

void bench(int argc, char **argv) {
    const Arguments arguments(argc, argv,
                              {"--backend", "--precision", "--device", "--runs", "--warm-up"});
    if (arguments.words.size() != 1) throw WrongUse("one bundle is needed");
    const int runs = arguments.number("--runs", 50), warm_up = arguments.number("--warm-up", 5);
    const long long before = process_memory("VmRSS");
    const double start = now();
    const apdepth::Predictor predictor(arguments.words[0], arguments.open_options());
    const double loaded = now();
    const apdepth_model_info info = predictor.info();
    const int height = info.height.opt, width = info.width.opt;
    const std::vector<std::uint8_t> rgb = ramp(height, width);
    std::vector<float> depth = predictor({rgb.data(), height, width});
    const double first = now();
    if (!std::all_of(depth.begin(), depth.end(), [](float value) { return std::isfinite(value); }))
        throw std::runtime_error("depth has NaN or Inf; `apdepth-deploy verify` the bundle");
    for (int i = 1; i < warm_up; ++i) predictor.infer({rgb.data(), height, width}, depth);
    const long long peak = process_memory("VmHWM");
    Measured measured{loaded - start, first - loaded, {}, warm_up, std::max(peak - before, -1LL)};
    for (int i = 0; i < runs; ++i) {
        const double begun = now();
        predictor.infer({rgb.data(), height, width}, depth);
        measured.runs.push_back(now() - begun);
    }
    std::printf("%s\n", report(arguments.words[0], info, measured).c_str());
}

}  // namespace

int main(int argc, char **argv) {
    return run_program(kUsage, [&] { bench(argc, argv); });
}
