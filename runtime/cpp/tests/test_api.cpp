// The C API and the header on top of it, on OpenVINO.
#include <csignal>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include <sys/mman.h>

#include "apdepth.hpp"
#include "bundles.hpp"
#include "check.hpp"

namespace {

apdepth_handle *open_mean() {
    apdepth_handle *model = nullptr;
    if (apdepth_open(mean_bundle().c_str(), nullptr, &model) != APDEPTH_OK)
        std::fprintf(stderr, "%s\n", apdepth_last_error());
    CHECK(model != nullptr);
    return model;
}

void info_is_the_manifests() {
    apdepth_handle *model = open_mean();
    apdepth_model_info info;
    CHECK(apdepth_info(model, &info) == APDEPTH_OK);
    CHECK(info.height.min == kHeight && info.height.opt == kHeight && info.height.max == kHeight);
    CHECK(info.width.opt == kWidth && info.batch.opt == 1 && info.stride == 8);
    CHECK(info.random_weights != 0 && info.warning == nullptr);
    CHECK(std::strcmp(info.backend, "openvino") == 0 && std::strcmp(info.device, "cpu") == 0);
    CHECK(std::strcmp(info.model, "mean") == 0 && std::strcmp(info.precision, "fp32") == 0);
    CHECK_TEXT(info.reason,
               "openvino on cpu, fp32 fused graph computed in fp32: the bundle has no TensorRT "
               "engine");
    apdepth_close(model);
}

void depth_is_the_graphs() {
    apdepth_handle *model = open_mean();
    std::vector<float> depth(kHeight * kWidth);
    for (const std::size_t stride :
         {std::size_t{3 * kWidth}, std::size_t{3 * kWidth + 1}, std::size_t{128}}) {
        const std::vector<std::uint8_t> frame = make_frame(3, stride);
        CHECK(apdepth_infer(model, frame.data(), kHeight, kWidth, stride, depth.data()) ==
              APDEPTH_OK);
        CHECK(is_mean(depth, frame, stride));
    }
    apdepth_close(model);
}

void frames_that_the_graph_does_not_take() {
    apdepth_handle *model = open_mean();
    const std::vector<std::uint8_t> frame = make_frame(1, 1024);
    std::vector<float> depth(64 * 64, -1.0f);
    const auto infer = [&](int height, int width, std::size_t stride) {
        return apdepth_infer(model, frame.data(), height, width, stride, depth.data());
    };
    const char *size = "takes frames uint8 [1, 16, 24, 3], not uint8 [1, 24, 16, 3]: resize";
    CHECK_FAILS(infer(24, 16, 48), APDEPTH_IMAGE_ERROR, size);
    CHECK_FAILS(infer(0, 0, 0), APDEPTH_IMAGE_ERROR, "not uint8 [1, 0, 0, 3]");
    CHECK_FAILS(infer(-16, -24, 72), APDEPTH_IMAGE_ERROR, "[1, -16, -24, 3]");
    CHECK_FAILS(infer(kHeight, kWidth, 71), APDEPTH_IMAGE_ERROR, "it must be 72 or more");
    CHECK_FAILS(infer(kHeight, kWidth, 0), APDEPTH_IMAGE_ERROR, "a stride of 0 bytes");
    CHECK_FAILS(infer(kHeight, kWidth, static_cast<std::size_t>(-72)), APDEPTH_IMAGE_ERROR,
                "a stride of 18446744073709551544 bytes leads out of memory");
    CHECK_FAILS(infer(kHeight, kWidth, SIZE_MAX / 2 / kHeight + 1), APDEPTH_IMAGE_ERROR,
                "leads out of memory");
    for (const float value : depth) CHECK(value == -1.0f);
    apdepth_close(model);
}

// Memory that a call was given may go at once: whatever touched it later would crash.
void memory_of_earlier_calls_is_not_touched() {
    apdepth_handle *model = open_mean();
    constexpr std::size_t kBytes = 4096;
    for (unsigned seed = 0; seed < 3; ++seed) {
        void *pages =
            mmap(nullptr, 2 * kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(pages != MAP_FAILED);
        auto *rgb = static_cast<std::uint8_t *>(pages);
        auto *depth = reinterpret_cast<float *>(rgb + kBytes);
        const std::vector<std::uint8_t> frame = make_frame(seed);
        std::memcpy(rgb, frame.data(), frame.size());
        CHECK(mprotect(rgb, kBytes, PROT_READ) == 0);
        CHECK(apdepth_infer(model, rgb, kHeight, kWidth, 3 * kWidth, depth) == APDEPTH_OK);
        CHECK(is_mean({depth, depth + kHeight * kWidth}, frame));
        CHECK(munmap(pages, 2 * kBytes) == 0);
    }
    apdepth_close(model);
}

void the_last_error_outlives_success() {
    CHECK_FAILS(apdepth_info(nullptr, nullptr), APDEPTH_USAGE_ERROR, "model is NULL");
    apdepth_close(open_mean());
    CHECK_TEXT(apdepth_last_error(), "model is NULL");
}

void null_pointers() {
    apdepth_handle *model = open_mean();
    const std::vector<std::uint8_t> frame = make_frame(1);
    std::vector<float> depth(kHeight * kWidth);
    const auto code = APDEPTH_USAGE_ERROR;
    CHECK_FAILS(apdepth_open("x", nullptr, nullptr), code, "out is NULL");
    apdepth_handle *other = model;
    CHECK_FAILS(apdepth_open(nullptr, nullptr, &other), code, "bundle is NULL");
    CHECK(other == nullptr);
    CHECK_FAILS(apdepth_infer(nullptr, frame.data(), 16, 24, 72, depth.data()), code,
                "model is NULL");
    CHECK_FAILS(apdepth_infer(model, nullptr, 16, 24, 72, depth.data()), code, "rgb is NULL");
    CHECK_FAILS(apdepth_infer(model, frame.data(), 16, 24, 72, nullptr), code, "depth is NULL");
    CHECK_FAILS(apdepth_info(model, nullptr), code, "info is NULL");
    apdepth_model_info info;
    CHECK_FAILS(apdepth_info(nullptr, &info), code, "model is NULL");
    CHECK_FAILS(apdepth_infer_async(model, nullptr, 1, 16, 24, depth.data(), nullptr), code, "rgb");
    CHECK_FAILS(apdepth_infer_async(model, frame.data(), 1, 16, 24, depth.data(), nullptr), code,
                "openvino takes host arrays only");
    apdepth_close(nullptr);
    apdepth_close(model);
}

void options_that_can_not_work() {
    apdepth_handle *model = nullptr;
    const auto open = [&](auto change) {
        apdepth_options options = apdepth_default_options();
        change(options);
        return apdepth_open(mean_bundle().c_str(), &options, &model);
    };
    const auto usage = APDEPTH_USAGE_ERROR;
    CHECK_FAILS(open([](auto &o) { o.backend = "x"; }), usage,
                "unknown backend 'x': choose one of auto");
    CHECK_FAILS(open([](auto &o) { o.device = "gpu"; }), usage, "unknown device 'gpu'");
    CHECK_FAILS(open([](auto &o) { o.device = "cuda:"; }), usage, "unknown device 'cuda:'");
    CHECK_FAILS(open([](auto &o) { o.precision = "fp8"; }), usage, "unknown precision 'fp8'");
    CHECK_FAILS(open([](auto &o) { o.backend = "openvino", o.device = "cuda"; }), usage,
                "on the CPU");
    CHECK_FAILS(open([](auto &o) { o.backend = "tensorrt", o.device = "cpu"; }), usage,
                "not on cpu");
    CHECK_FAILS(open([](auto &o) { o.precision = "fp16"; }), APDEPTH_BACKEND_ERROR,
                "the bundle has fused fp32; OpenVINO on cpu needs fp16 fused: export with");
    CHECK_FAILS(open([](auto &o) { o.hint = "x"; }), usage,
                "unknown hint 'x': choose one of latency, throughput");
    CHECK_FAILS(open([](auto &o) { o.threads = -1; }), usage, "threads must be 1 to ");
    CHECK_FAILS(open([](auto &o) { o.threads = 1 << 20; }), usage, " cores, not 1048576");
    CHECK_FAILS(open([](auto &o) { o.backend = "tensorrt", o.threads = 1; }), usage,
                "threads and hint are for openvino, not for tensorrt");
    CHECK_FAILS(open([](auto &o) { o.lanes = -1; }), usage, "lanes must be 1 to 256, not -1");
    CHECK_FAILS(open([](auto &o) { o.lanes = 257; }), usage, "not 257");
    CHECK(model == nullptr);
}

// A program of another version knows another size of the structs.
void structs_of_other_versions() {
    apdepth_handle *model = nullptr;
    apdepth_options options = apdepth_default_options();
    options.backend = "openvino";
    options.hint = "nobody looks at it";
    CHECK(apdepth_open_sized(mean_bundle().c_str(), &options, offsetof(apdepth_options, hint),
                             &model) == APDEPTH_OK);
    struct {
        apdepth_model_info info;
        const char *later = "not filled";
    } larger;
    CHECK(apdepth_info_sized(model, &larger.info, sizeof larger) == APDEPTH_OK);
    CHECK(larger.later == nullptr && larger.info.stride == 8);
    apdepth_model_info smaller;
    smaller.model = "untouched";
    CHECK(apdepth_info_sized(model, &smaller, offsetof(apdepth_model_info, model)) == APDEPTH_OK);
    CHECK(std::string(smaller.model) == "untouched" && smaller.stride == 8);
    apdepth_close(model);

    struct {
        apdepth_options options = apdepth_default_options();
        std::size_t later = 0;
    } newer;
    const auto open = [&] {
        return apdepth_open_sized(mean_bundle().c_str(), &newer.options, sizeof newer, &model);
    };
    CHECK(open() == APDEPTH_OK);
    apdepth_close(model);
    newer.later = 1;
    CHECK_FAILS(open(), APDEPTH_USAGE_ERROR, "options have a field that libapdepth 0.");
}

void note(void *data, apdepth_log_level level, const char *message) {
    auto &said = *static_cast<std::vector<std::string> *>(data);
    said.push_back(std::to_string(level) + " " + message);
}

void what_is_said_while_a_bundle_opens() {
    std::vector<std::string> said;
    apdepth_options options = apdepth_default_options();
    options.log = note;
    options.log_data = &said;
    options.lanes = 3;
    options.threads = 1;
    options.hint = "throughput";
    apdepth_handle *model = nullptr;
    CHECK(apdepth_open(mean_bundle().c_str(), &options, &model) == APDEPTH_OK);
    apdepth_close(model);
    CHECK(said.size() == 2);
    CHECK_TEXT(said[0], "0 openvino ");
    CHECK_TEXT(said[1], "0 openvino on cpu, fp32 fused graph");
    CHECK(apdepth_open(mean_bundle().c_str(), &options, &model) == APDEPTH_OK);
    apdepth_close(model);
    CHECK(said.size() == 4);
    CHECK_TEXT(said[2], "fused.fp32.onnx back from ");
}

// The status of the Error that `work` must throw.
template <class Work>
apdepth_status thrown(Work work) {
    try {
        work();
    } catch (const apdepth::Error &error) {
        CHECK(std::string(error.what()) == apdepth_last_error() ||
              error.status() == APDEPTH_USAGE_ERROR);
        return error.status();
    }
    return APDEPTH_OK;
}

void the_header_for_cpp() {
    const apdepth::Predictor predictor(mean_bundle());
    CHECK(predictor.info().width.opt == kWidth);
    const std::vector<std::uint8_t> frame = make_frame(9, 100);
    CHECK(is_mean(predictor({frame.data(), kHeight, kWidth, 100}), frame, 100));
    std::vector<float> depth(kHeight * kWidth - 1);
    CHECK(thrown([&] { predictor.infer({frame.data(), kHeight, kWidth, 100}, depth); }) ==
          APDEPTH_USAGE_ERROR);
    const apdepth_image picture = {frame.data(), kHeight, kWidth, 100, APDEPTH_RGB, nullptr, 0};
    CHECK(is_mean(predictor.depth(picture), frame, 100));
    CHECK(predictor.timings().infer_ms > 0);
    CHECK(thrown([&] { predictor.depth({}); }) == APDEPTH_USAGE_ERROR);
    CHECK(thrown([] { apdepth::Predictor("nowhere"); }) == APDEPTH_BUNDLE_ERROR);
    CHECK_TEXT(apdepth_last_error(), "nowhere is no bundle: it has no manifest.json");
    CHECK(thrown([&] { predictor({nullptr, kHeight, kWidth}); }) == APDEPTH_USAGE_ERROR);
}

// Sizes that no memory holds, or that aren't any, are refused as what they are.
void frames_of_every_size_are_refused_by_the_header_for_cpp() {
    const apdepth::Predictor predictor(mean_bundle());
    const std::vector<std::uint8_t> frame = make_frame(1);
    std::vector<float> none;
    constexpr int kLargest = std::numeric_limits<int>::max();
    for (const int height : {0, 1, -16, kHeight, 200000, kLargest, -kLargest - 1})
        for (const int width : {0, 1, -24, 200000, kLargest, -kLargest - 1}) {
            CHECK(thrown([&] { predictor({frame.data(), height, width}); }) == APDEPTH_IMAGE_ERROR);
            CHECK(thrown([&] { predictor.infer({frame.data(), height, width}, none); }) ==
                  APDEPTH_IMAGE_ERROR);
        }
}

volatile std::sig_atomic_t heard = 0;

// OpenVINO changes the stack that such handlers run on, and what it puts back must be there.
void signals_are_handled_after_two_models() {
    struct sigaction action = {};
    action.sa_handler = [](int) { heard = 1; };
    action.sa_flags = SA_ONSTACK;
    CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
    apdepth_handle *first = open_mean(), *second = open_mean();
    apdepth_close(first);
    apdepth_close(second);
    CHECK(std::raise(SIGUSR1) == 0 && heard == 1);
}

}  // namespace

int main() {
    CHECK(std::string(apdepth_version()) == APDEPTH_TEST_VERSION);
    info_is_the_manifests();
    depth_is_the_graphs();
    frames_that_the_graph_does_not_take();
    memory_of_earlier_calls_is_not_touched();
    the_last_error_outlives_success();
    null_pointers();
    options_that_can_not_work();
    structs_of_other_versions();
    what_is_said_while_a_bundle_opens();
    the_header_for_cpp();
    frames_of_every_size_are_refused_by_the_header_for_cpp();
    signals_are_handled_after_two_models();
}
