// The TensorRT backend where its library is: versions are compared, and without a GPU it says so.
// What needs a GPU is not tested here.
#include <NvInferRuntime.h>

#include "apdepth.h"
#include "bundles.hpp"
#include "check.hpp"
#include "error.hpp"
#include "machine.hpp"
#include "tensorrt/version.hpp"

using namespace apdepth::detail;

namespace {

std::string version_or_refusal() {
    try {
        return tensorrt::checked_version();
    } catch (const BackendError &error) {
        return error.what();
    }
}

// A library of other headers would be called at the wrong places.
void versions_are_compared() {
    const std::string found = version_or_refusal();
    std::printf("%s\n", found.c_str());
    const bool same = getInferLibVersion() == NV_TENSORRT_VERSION;
    const std::string library = std::to_string(getInferLibMajorVersion()) + "." +
                                std::to_string(getInferLibMinorVersion()) + ".";
    if (same) CHECK(found.rfind(library, 0) == 0);
    else CHECK_TEXT(found, "and the library here is " + library);
}

apdepth_status open(const BrokenBundle &bundle) {
    apdepth_options options = apdepth_default_options();
    options.backend = tensorrt::kTarget;
    apdepth_handle *model = nullptr;
    return apdepth_open(bundle.path().c_str(), &options, &model);
}

void a_bundle_with_an_engine_is_refused_in_words() {
    if (!this_machine().gpus.empty()) return;
    const BrokenBundle bundle("engine");
    CHECK_FAILS(open(bundle), APDEPTH_BACKEND_ERROR, "needs an NVIDIA GPU and its driver");
    bundle.edit(
        "\"engines\": []",
        "\"engines\": [{\"graph\": \"fused\", \"precision\": \"fp32\", \"target\": \"" +
            std::string(tensorrt::kTarget) +
            "\", \"version\": \"1.2.3.4\", \"compute_capabilities\": [\"8.9\"], \"platform\": "
            "\"linux-x86_64\", \"file\": \"onnx/fused.fp32.data\", \"batch\": 1, \"height\": 16, "
            "\"width\": 24, \"weights\": {}, \"weights_bytes\": 0, \"activation_bytes\": 0, "
            "\"layers\": 1, \"seconds\": 1}]");
    const bool same = getInferLibVersion() == NV_TENSORRT_VERSION;
    CHECK_FAILS(open(bundle), APDEPTH_BACKEND_ERROR,
                same ? "fused.fp32 was built by" : "was compiled with the headers of");
}

}  // namespace

int main() {
    versions_are_compared();
    a_bundle_with_an_engine_is_refused_in_words();
}
