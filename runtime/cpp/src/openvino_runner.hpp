// OpenVINO on the CPU.
#pragma once

#include <memory>

#include "bundle.hpp"
#include "log.hpp"
#include "runner.hpp"

namespace apdepth::detail {

// How a graph is compiled. `threads`: 0 for as many as cores.
struct Tuning {
    int threads;
    bool throughput, bf16, check_hashes;
};

// Whether this processor has bfloat16 instructions that OpenVINO uses.
bool openvino_has_bf16();

// Throws BundleError: a damaged graph, or one that isn't what the manifest says.
std::unique_ptr<Runner> make_openvino_runner(const Bundle &bundle, const Graph &graph,
                                             const Tuning &tuning, const Log &log);

}  // namespace apdepth::detail
