// Graphs compiled by OpenVINO, and kept for the next start where Python keeps them, too
// (runtime/engines/openvino_compile.py): a folder for each graph, named by the content of its files,
// its settings, the processor and OpenVINO's version. It appears whole, and is compared with its
// SHA-256 before OpenVINO sees it.
#pragma once

#include <array>
#include <string>

#include <nlohmann/json.hpp>
#include <openvino/openvino.hpp>

#include "log.hpp"

namespace apdepth::detail {

// One graph to compile. Settings are OpenVINO's, as strings and integers.
struct Job {
    std::string graph, data;             // its files, absolute
    std::array<std::string, 2> digests;  // their SHA-256
    bool checks_again = true;            // that the files are those, before anything is kept
    nlohmann::json settings;
};

// The core of this process.
ov::Core &core();

// The graph, read back or compiled. `trouble` receives why it isn't kept, or "". Throws ov::Exception
// and other std::exceptions where OpenVINO refuses the graph, BundleError where it changed meanwhile.
ov::CompiledModel compiled(const Job &job, const Log &log, std::string &trouble);

// The name of a graph's folder: equal to Python's.
std::string entry_name(const Job &job);

}  // namespace apdepth::detail
