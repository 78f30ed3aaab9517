// The C API and the header on top of it, on OpenVINO.
#include <cstring>
#include <vector>

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
    CHECK_TEXT(info.reason, "openvino on cpu, fp32, fused graph");
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
    for (const float value : depth) CHECK(value == -1.0f);
    apdepth_close(model);
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
    CHECK_FAILS(open([](auto &o) { o.precision = "bf16"; }), APDEPTH_BACKEND_ERROR,
                "OpenVINO on cpu runs fp32, fp16, not bf16");
    CHECK(model == nullptr);
}

void the_header_for_cpp() {
    const apdepth::Predictor predictor(mean_bundle());
    CHECK(predictor.info().width.opt == kWidth);
    const std::vector<std::uint8_t> frame = make_frame(9, 100);
    CHECK(is_mean(predictor({frame.data(), kHeight, kWidth, 100}), frame, 100));
    std::vector<float> depth(kHeight * kWidth - 1);
    try {
        predictor.infer({frame.data(), kHeight, kWidth, 100}, depth);
        CHECK(false);
    } catch (const apdepth::Error &error) {
        CHECK(error.status() == APDEPTH_USAGE_ERROR);
    }
    try {
        apdepth::Predictor("nowhere");
        CHECK(false);
    } catch (const apdepth::Error &error) {
        CHECK(error.status() == APDEPTH_BUNDLE_ERROR);
        CHECK_TEXT(error.what(), "nowhere is no bundle: it has no manifest.json");
    }
}

}  // namespace

int main() {
    CHECK(std::string(apdepth_version()) == APDEPTH_TEST_VERSION);
    info_is_the_manifests();
    depth_is_the_graphs();
    frames_that_the_graph_does_not_take();
    null_pointers();
    options_that_can_not_work();
    the_header_for_cpp();
}
