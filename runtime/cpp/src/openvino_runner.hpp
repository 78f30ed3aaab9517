// OpenVINO on the CPU.
#pragma once

#include <memory>

#include "bundle.hpp"
#include "runner.hpp"

namespace apdepth::detail {

// Throws BundleError: a damaged graph, or one that isn't what the manifest says.
std::unique_ptr<Runner> make_openvino_runner(const Bundle &bundle, const Graph &graph);

}  // namespace apdepth::detail
