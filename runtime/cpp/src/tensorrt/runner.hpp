// TensorRT and TensorRT for RTX on an NVIDIA GPU: one source, told apart by TRT_MAJOR_RTX.
#pragma once

#include <memory>

#include "../choice.hpp"
#include "../runner.hpp"

namespace apdepth::detail::tensorrt {

// Throws BackendError: the driver or TensorRT refuses, or the GPU's memory doesn't suffice.
std::unique_ptr<Runner> make_runner(const Bundle &bundle, const Choice &choice);

}  // namespace apdepth::detail::tensorrt
