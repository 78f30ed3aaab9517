// What apdepth_bench prints: the fields of `apdepth-deploy profile --json`, as docs/profiling.md
// describes them.
#pragma once

#include <string>
#include <vector>

#include "apdepth.hpp"

// What was measured, in seconds.
struct Measured {
    double loading;
    double first;
    std::vector<double> runs;
    int warm_up;
    long long host_growth;  // bytes that peak resident memory rose by; -1 where unknown
};

// JSON text. Throws std::exception where the manifest can't be read.
std::string report(const std::string &bundle, const apdepth_model_info &info,
                   const Measured &measured);

// Bytes: VmRSS or VmHWM of this process (Linux), -1 where there is no such thing.
long long process_memory(const std::string &key);
