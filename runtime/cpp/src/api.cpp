// Bundles from C: arguments are checked here.
#include "apdepth.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include "boundary.hpp"
#include "bundle.hpp"
#include "error.hpp"
#include "images.hpp"
#include "load.hpp"
#include "runner.hpp"

struct apdepth_handle {
    std::unique_ptr<apdepth::detail::Runner> runner;
    apdepth::detail::Workspaces workspaces;
    std::string model;
    bool random_weights;
};

namespace apdepth::detail {
namespace {

// A struct that may grow ends with its last field: one to come doesn't fall into padding, which
// nobody sets.
static_assert(sizeof(apdepth_options) == offsetof(apdepth_options, log_data) + sizeof(void *));
static_assert(sizeof(apdepth_model_info) ==
              offsetof(apdepth_model_info, warning) + sizeof(const char *));

// Options of a caller's version of the struct. Throws UsageError for what this one doesn't know.
apdepth_options known(const apdepth_options *given, std::size_t size) {
    apdepth_options options = {};
    if (given == nullptr) return options;
    const auto *bytes = reinterpret_cast<const unsigned char *>(given);
    std::memcpy(&options, bytes, std::min(size, sizeof options));
    for (std::size_t i = sizeof options; i < size; ++i)
        if (bytes[i] != 0)
            throw UsageError("options have a field that libapdepth " +
                             std::string(apdepth_version()) +
                             " doesn't know: install the version of your header");
    return options;
}

Wanted wanted_of(const apdepth_options &given) {
    Wanted wanted;
    if (given.backend != nullptr) wanted.backend = given.backend;
    if (given.precision != nullptr) wanted.precision = given.precision;
    if (given.device != nullptr) wanted.device = given.device;
    if (given.hint != nullptr) wanted.hint = given.hint;
    if (given.lanes != 0) wanted.lanes = given.lanes;
    wanted.threads = given.threads;
    wanted.check_hashes = given.skip_hashes == 0;
    wanted.log = {given.log, given.log_data};
    return wanted;
}

thread_local Timings last_timings;

double now_ms() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(now).count();
}

// Into a caller's version of a struct: what it has more is 0.
template <class Struct>
void give(const Struct &found, Struct *out, std::size_t size) {
    auto *bytes = reinterpret_cast<unsigned char *>(out);
    std::memcpy(bytes, &found, std::min(size, sizeof found));
    if (size > sizeof found) std::memset(bytes + sizeof found, 0, size - sizeof found);
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

apdepth_status apdepth_open_sized(const char *bundle, const apdepth_options *options, size_t size,
                                  apdepth_handle **out) {
    return guarded([&] {
        require(out, "out");
        *out = nullptr;
        require(bundle, "bundle");
        if (*bundle == '\0') throw UsageError("bundle is an empty path: name the bundle's folder");
        const Wanted wanted = wanted_of(known(options, size));
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
        const double start = now_ms();
        runner.infer(image, depth);
        last_timings = {0, now_ms() - start, 0};
    });
}

apdepth_status apdepth_infer_images(apdepth_handle *model, const apdepth_image *images, int count,
                                    float *const *depths) {
    return guarded([&] {
        require(model, "model");
        require(images, "images");
        require(depths, "depths");
        if (count < 1)
            throw UsageError("count is " + std::to_string(count) + ": it must be 1 or more");
        last_timings = model->workspaces.infer(*model->runner, images, count, depths);
    });
}

apdepth_status apdepth_last_timings_sized(apdepth_timings *timings, size_t size) {
    return guarded([&] {
        require(timings, "timings");
        const apdepth_timings found = {last_timings.convert, last_timings.infer,
                                       last_timings.resize};
        give(found, timings, size);
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

apdepth_status apdepth_info_sized(const apdepth_handle *model, apdepth_model_info *info,
                                  size_t size) {
    return guarded([&] {
        require(model, "model");
        require(info, "info");
        const Runner &runner = *model->runner;
        const apdepth_model_info found = {
            runner.frame.batch,
            runner.frame.height,
            runner.frame.width,
            runner.stride,
            model->random_weights ? 1 : 0,
            model->model.c_str(),
            runner.backend.c_str(),
            runner.device.c_str(),
            runner.precision.c_str(),
            runner.reason.c_str(),
            runner.warning.empty() ? nullptr : runner.warning.c_str(),
        };
        give(found, info, size);
    });
}

const char *apdepth_last_error(void) { return last_error(); }

void apdepth_close(apdepth_handle *model) {
    guarded([&] { delete model; });
}
