// What the C API costs over the bare engine: the same frame through both, in turns.
//
//   apdepth_overhead BUNDLE RUNS
//
// Prints JSON: milliseconds of each run, of OpenVINO called as bare as it can be and of
// apdepth_infer. benchmarks/cpp_overhead.py makes sense of it.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

#include "apdepth.hpp"

namespace {

constexpr int kWarmUp = 20, kTurn = 5;

double run(const std::function<void()> &work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
}

void print(const char *name, const std::vector<double> &samples, const char *end) {
    std::printf("\"%s\": [", name);
    for (std::size_t i = 0; i < samples.size(); ++i)
        std::printf("%s%.6f", i == 0 ? "" : ", ", samples[i]);
    std::printf("]%s", end);
}

// The settings are the library's.
ov::CompiledModel compile(ov::Core &core, const std::string &bundle) {
    return core.compile_model(bundle + "/onnx/fused.fp32.onnx", "CPU",
                              ov::hint::inference_precision(ov::element::f32),
                              ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY));
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const int runs = std::atoi(argv[2]);
    apdepth_options options = apdepth_default_options();
    options.backend = "openvino";
    options.precision = "fp32";
    const apdepth::Predictor predictor(argv[1], options);
    const int height = predictor.info().height.opt, width = predictor.info().width.opt;
    const std::size_t pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    std::vector<std::uint8_t> rgb(3 * pixels);
    for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i / 7 % 256);
    std::vector<float> depth(pixels), bare_depth(pixels);

    ov::Core core;
    ov::CompiledModel model = compile(core, argv[1]);
    ov::InferRequest request = model.create_infer_request();
    request.set_input_tensor(ov::Tensor(ov::element::u8, model.input().get_shape(), rgb.data()));
    request.set_output_tensor(
        ov::Tensor(ov::element::f32, model.output().get_shape(), bare_depth.data()));

    const std::function<void()> bare = [&] { request.infer(); };
    const std::function<void()> api = [&] { predictor.infer({rgb.data(), height, width}, depth); };
    for (int i = 0; i < kWarmUp; ++i) bare(), api();
    if (depth != bare_depth) {
        std::fprintf(stderr, "the two gave different depth\n");
        return 1;
    }
    // In turns, so that a machine that slows down slows both; a turn's first run isn't counted.
    std::vector<double> bare_ms, api_ms;
    while (static_cast<int>(api_ms.size()) < runs) {
        bare();
        for (int i = 0; i < kTurn; ++i) bare_ms.push_back(run(bare));
        api();
        for (int i = 0; i < kTurn; ++i) api_ms.push_back(run(api));
    }
    std::printf("{");
    print("bare_ms", bare_ms, ", ");
    print("api_ms", api_ms, "}\n");
}
