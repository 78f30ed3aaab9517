// Bundles from C: arguments are checked here.
#include "apdepth.h"

#include <cstddef>
#include <limits>
#include <memory>
#include <string>

#include "boundary.hpp"
#include "bundle.hpp"
#include "error.hpp"
#include "load.hpp"
#include "runner.hpp"

struct apdepth_handle {
    std::unique_ptr<apdepth::detail::Runner> runner;
    std::string model;
    bool random_weights;
};

namespace apdepth::detail {
namespace {

Wanted wanted_of(const apdepth_options *given) {
    Wanted wanted;
    if (given == nullptr) return wanted;
    if (given->backend != nullptr) wanted.backend = given->backend;
    if (given->precision != nullptr) wanted.precision = given->precision;
    if (given->device != nullptr) wanted.device = given->device;
    wanted.check_hashes = given->skip_hashes == 0;
    return wanted;
}

void check_stride(const Frame &image) {
    if (image.stride < image.row())
        throw ImageError("a stride of " + std::to_string(image.stride) +
                         " bytes is less than a row of " + std::to_string(image.width) +
                         " RGB pixels: it must be " + std::to_string(image.row()) + " or more");
    constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
    if (image.stride > most / static_cast<std::size_t>(image.height))
        throw ImageError("a stride of " + std::to_string(image.stride) +
                         " bytes leads out of memory: rows lie from the top down, a stride apart");
}

}  // namespace
}  // namespace apdepth::detail

using namespace apdepth::detail;

#define APDEPTH_TEXT(x) #x
#define APDEPTH_JOINED(major, minor, patch) \
    APDEPTH_TEXT(major) "." APDEPTH_TEXT(minor) "." APDEPTH_TEXT(patch)

const char *apdepth_version(void) {
    return APDEPTH_JOINED(APDEPTH_VERSION_MAJOR, APDEPTH_VERSION_MINOR, APDEPTH_VERSION_PATCH);
}

apdepth_options apdepth_default_options(void) { return {}; }

apdepth_status apdepth_open(const char *bundle, const apdepth_options *options,
                            apdepth_handle **out) {
    return guarded([&] {
        require(out, "out");
        *out = nullptr;
        require(bundle, "bundle");
        if (*bundle == '\0') throw UsageError("bundle is an empty path: name the bundle's folder");
        const Wanted wanted = wanted_of(options);
        const Bundle opened = Bundle::open(bundle);
        auto handle = std::make_unique<apdepth_handle>();
        handle->runner = load(opened, wanted);
        handle->model = opened.model;
        handle->random_weights = opened.random_weights;
        *out = handle.release();
    });
}

apdepth_status apdepth_infer(apdepth_handle *model, const uint8_t *rgb, int height, int width,
                             size_t stride, float *depth) {
    return guarded([&] {
        require(model, "model");
        require(rgb, "rgb");
        Runner &runner = *model->runner;
        check_size(runner, runner.frame.batch.min, height, width);
        const Frame image{rgb, height, width, stride};
        check_stride(image);
        require(depth, "depth");
        runner.infer(image, depth);
    });
}

apdepth_status apdepth_infer_async(apdepth_handle *model, const uint8_t *rgb, int batch, int height,
                                   int width, float *depth, void *cuda_stream) {
    return guarded([&] {
        require(model, "model");
        require(rgb, "rgb");
        require(depth, "depth");
        model->runner->infer_async({rgb, batch, height, width, depth, cuda_stream});
    });
}

apdepth_status apdepth_info(const apdepth_handle *model, apdepth_model_info *info) {
    return guarded([&] {
        require(model, "model");
        require(info, "info");
        const Runner &runner = *model->runner;
        *info = {runner.frame.batch,
                 runner.frame.height,
                 runner.frame.width,
                 runner.stride,
                 model->random_weights ? 1 : 0,
                 model->model.c_str(),
                 runner.backend.c_str(),
                 runner.device.c_str(),
                 runner.precision.c_str(),
                 runner.reason.c_str(),
                 runner.warning.empty() ? nullptr : runner.warning.c_str()};
    });
}

const char *apdepth_last_error(void) { return last_error(); }

void apdepth_close(apdepth_handle *model) {
    guarded([&] { delete model; });
}
