// Which engine of a bundle runs here, or a line that says why none does: before any is loaded.
// runtime/engines/tensorrt/choice.py, for fused engines. Knows nothing about running.
#pragma once

#include <optional>
#include <string>

#include "bundle.hpp"
#include "error.hpp"
#include "machine.hpp"

namespace apdepth::detail {

// No engine runs here. `why` is the reason alone, without what to do about it.
struct UnfitError : BackendError {
    UnfitError(const std::string &reason, const std::string &remedy)
        : BackendError(reason + ": " + remedy), why(reason) {}

    std::string why;
};

// An engine from frame to depth, and the GPU to run it on.
struct Choice {
    Engine engine;
    Gpu gpu;
    int ordinal;
    std::string warning;  // what is known to go wrong with this TensorRT on this GPU, or nothing
    std::string mend;     // the command that builds the engine anew
};

// The fused engine that fits this machine, in the best precision. Throws UnfitError naming both
// sides of what doesn't fit, and what mends it.
Choice choose_engine(const Bundle &bundle, const std::string &target,
                     const std::optional<std::string> &precision, int ordinal,
                     const Machine &machine);

// Throws BundleError where the plan's bytes are not those that were built.
void check_plan_hash(const Bundle &bundle, const Choice &choice);

// What is known to go wrong, silently, with a TensorRT version on a GPU; nothing where nothing is.
std::string known_bad(const std::string &target, const std::string &version,
                      const std::string &capability);

}  // namespace apdepth::detail
