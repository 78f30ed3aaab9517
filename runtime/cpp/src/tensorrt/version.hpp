// Which TensorRT this is: of the headers that it was compiled with, and of the library here.
#pragma once

#include <string>

namespace apdepth::detail::tensorrt {

// The manifest's name for it: "tensorrt-rtx" or "tensorrt".
extern const char *const kTarget;

// The library's version, "1.7.1.116". Throws BackendError where it is not the headers': calls would
// land in the wrong places.
std::string checked_version();

}  // namespace apdepth::detail::tensorrt
