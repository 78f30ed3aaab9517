// The bundle: apdepth_deploy/bundle/bundle.py for readers. Knows nothing about what is in a graph.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "apdepth.h"

namespace apdepth::detail {

// One input or output; a dynamic dimension is [min, opt, max] instead of a number.
struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<apdepth_range> shape;
};

// Frame sizes that a graph or an engine takes.
struct FrameRange {
    apdepth_range batch, height, width;
};

// One ONNX graph of a bundle.
struct Graph {
    std::string name, precision, file, data;
    std::vector<Tensor> inputs, outputs;
    FrameRange frame;

    std::string kind() const { return name == "fused" ? "fused" : "staged"; }
    std::string label() const { return name + "." + precision; }
};

// One TensorRT plan of a bundle, built from the graph of the same name and precision.
struct Engine {
    std::string graph, precision, target, version, platform, file;
    std::vector<std::string> compute_capabilities;
    FrameRange frame;
    std::uint64_t weights_bytes, activation_bytes;

    std::string label() const { return graph + "." + precision; }
};

// An opened bundle: its folder and what its manifest says.
struct Bundle {
    std::string folder;
    std::string model;            // its name, such as "small"
    bool random_weights = false;  // drawn, not trained
    std::vector<Graph> graphs;
    std::vector<Engine> engines;
    std::map<std::string, std::string> hashes;  // SHA-256 by a file's name
    int stride = 1;                             // sides of a frame are multiples of it

    // Read and check a manifest, and that every file it names is there with its size. Throws
    // BundleError. Hashes cost time on big files: check_hash compares those of files in use.
    static Bundle open(const std::string &folder);

    // Where a file of the manifest lies.
    std::string path(const std::string &name) const;

    // Throws BundleError where a file's bytes are not those that were exported.
    void check_hash(const std::string &name) const;

    const Graph *find_graph(const std::string &name, const std::string &precision) const;
};

}  // namespace apdepth::detail
