#include "version.hpp"

#include <NvInferRuntime.h>

#include "../error.hpp"

namespace apdepth::detail::tensorrt {
namespace {

std::string dotted(int major, int minor, int patch) {
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

}  // namespace

#ifdef TRT_MAJOR_RTX
const char *const kTarget = "tensorrt-rtx";
#else
const char *const kTarget = "tensorrt";
#endif

std::string checked_version() {
    const std::string library =
        dotted(getInferLibMajorVersion(), getInferLibMinorVersion(), getInferLibPatchVersion());
    const std::string headers = dotted(NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH);
    if (library != headers)
        throw BackendError("libapdepth was compiled with the headers of " + std::string(kTarget) +
                           " " + headers + " and the library here is " + library +
                           ": build it again with a TENSORRT_ROOT of " + library);
    return library + "." + std::to_string(getInferLibBuildVersion());
}

}  // namespace apdepth::detail::tensorrt
