// Which backend runs a bundle: the choice, and why, in words. runtime/choice.py for C.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bundle.hpp"
#include "log.hpp"
#include "runner.hpp"

namespace apdepth::detail {

// What a caller of apdepth_open asked for.
struct Wanted {
    std::string backend = "auto";
    std::optional<std::string> precision;
    std::string device = "auto";
    bool check_hashes = true;
    int threads = 0;  // 0: as many as cores
    int lanes = 1;
    std::string hint = "latency";
    Log log;
};

// Throws UsageError, BundleError, BackendError.
std::unique_ptr<Runner> load(const Bundle &bundle, const Wanted &wanted);

}  // namespace apdepth::detail
