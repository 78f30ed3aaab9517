// Where TensorRT for RTX's compiled kernels are kept: the files of the Python package
// (runtime/engines/tensorrt/runtime_cache.py), so that either finds what the other compiled.
#pragma once

#include <string>

#include "../cache_folder.hpp"
#include "../machine.hpp"

namespace apdepth::detail::tensorrt {

// A file name that no other GPU, driver, TensorRT or engine has.
std::string cache_name(const Gpu &gpu, int driver, const std::string &version,
                       const std::string &plan_sha256);

// The kernels in a file; empty where it is missing or damaged: that must not reach TensorRT.
std::string read_cache(const std::string &path);

// Keep kernels. A disk that refuses is no error: the next start compiles again.
void write_cache(const std::string &path, const std::string &kernels);

}  // namespace apdepth::detail::tensorrt
