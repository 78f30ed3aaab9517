#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "error.hpp"

namespace apdepth::detail {
namespace {

constexpr int kSchemaVersion = 1;

using Check = bool (*)(const Json &);

struct Field {
    const char *name;
    Check check;
};

using Fields = std::vector<Field>;

// Of 4096 characters at most; a byte 10xxxxxx goes on with one.
bool is_text(const Json &value) {
    if (!value.is_string()) return false;
    const auto &text = value.get_ref<const std::string &>();
    const auto starts = [](char byte) { return (byte & 0xC0) != 0x80; };
    return std::count_if(text.begin(), text.end(), starts) <= 4096;
}
bool is_object(const Json &value) { return value.is_object(); }
bool is_list(const Json &value) { return value.is_array(); }
bool is_flag(const Json &value) { return value.is_boolean(); }
bool is_number(const Json &value) {
    return value.is_number() && std::abs(value.get<double>()) <= 1e300;
}
bool is_amount(const Json &value) { return is_number(value) && value.get<double>() >= 0; }

bool is_count(const Json &value) {
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.is_number_unsigned()) return value.get<std::uint64_t>() <= largest;
    return value.is_number_integer() && value.get<std::int64_t>() >= 0;
}

// A side or a batch: the C API counts them in int.
bool is_size(const Json &value) {
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
    return is_count(value) && value.get<std::uint64_t>() <= largest;
}

// A size, or [min, opt, max].
bool is_extent(const Json &value) {
    if (is_size(value)) return value.get<int>() >= 1;
    if (!value.is_array() || value.size() != 3 || !std::all_of(value.begin(), value.end(), is_size))
        return false;
    const int min = value[0].get<int>(), opt = value[1].get<int>(), max = value[2].get<int>();
    return 1 <= min && min <= opt && opt <= max;
}

template <Check check>
bool optional(const Json &value) {
    return value.is_null() || check(value);
}

template <Check check>
bool all_items(const Json &value) {
    return value.is_array() && std::all_of(value.begin(), value.end(), check);
}

template <Check check>
bool all_values(const Json &value) {
    return value.is_object() && std::all_of(value.begin(), value.end(), check);
}

bool is_side(const Json &value) { return is_size(value) && value.get<int>() >= 1; }

bool is_precision(const Json &value) {
    return value == "fp32" || value == "fp16" || value == "bf16";
}
bool is_target(const Json &value) { return value == "tensorrt-rtx" || value == "tensorrt"; }
bool is_source(const Json &value) {
    return value == "random" || value == "checkpoint" || value == "model";
}

const Fields kManifest = {{"created", is_text},
                          {"tools", all_values<is_text>},
                          {"source", is_object},
                          {"depth", is_text},
                          {"license", optional<all_values<optional<is_text>>>},
                          {"spec", is_object},
                          {"graphs", is_list},
                          {"engines", is_list},
                          {"parity", is_list},
                          {"files", is_object}};

const Fields kSource = {{"kind", is_source},
                        {"name", is_text},
                        {"seed", optional<is_count>},
                        {"prior", optional<is_text>},
                        {"conventions", optional<is_text>},
                        {"unet", optional<is_text>},
                        {"revision", optional<is_text>}};

const Fields kFolding = {{"applied", all_items<is_text>},
                         {"skipped", all_values<is_text>},
                         {"before", is_object},
                         {"after", is_object}};
const Fields kSizes = {{"parameters", all_values<is_count>}, {"gflop", all_values<is_amount>}};

const Fields kGraph = {{"name", is_text},
                       {"file", is_text},
                       {"data", is_text},
                       {"precision", is_precision},
                       {"opset", is_count},
                       {"parameters", is_count},
                       {"nodes", is_count},
                       {"inputs", is_list},
                       {"outputs", is_list},
                       {"batch", is_extent},
                       {"height", is_extent},
                       {"width", is_extent},
                       {"gflop", all_values<is_amount>}};

const Fields kEngine = {{"graph", is_text},
                        {"version", is_text},
                        {"platform", is_text},
                        {"file", is_text},
                        {"precision", is_precision},
                        {"target", is_target},
                        {"compute_capabilities", all_items<is_text>},
                        {"batch", is_extent},
                        {"height", is_extent},
                        {"width", is_extent},
                        {"weights", all_values<is_count>},
                        {"weights_bytes", is_count},
                        {"activation_bytes", is_count},
                        {"layers", is_count},
                        {"seconds", is_amount},
                        {"verified", optional<is_flag>},
                        {"verified_on", optional<all_values<is_text>>}};

const Fields kTensor = {{"name", is_text}, {"dtype", is_text}, {"shape", all_items<is_extent>}};
const Fields kFile = {{"sha256", is_text}, {"size", is_count}};

const Fields kParity = {{"graph", is_text},
                        {"precision", is_text},
                        {"backend", is_text},
                        {"frame", is_text},
                        {"stage", is_text},
                        {"max_abs", optional<is_amount>},
                        {"mean_abs", optional<is_amount>},
                        {"psnr", optional<is_number>},
                        {"scale", optional<is_amount>},
                        {"bad", is_count},
                        {"passed", is_flag}};

const Fields kGolden = {{"frames", is_list}, {"thresholds", is_object}};
const Fields kFrame = {{"name", is_text},
                       {"file", is_text},
                       {"height", is_side},
                       {"width", is_side},
                       {"tensors", is_object}};
const Fields kResult = {{"shape", all_items<is_side>}, {"scale", is_amount}};
const Fields kThreshold = {{"max_abs", optional<is_amount>}, {"mean_abs", is_amount}};

std::string text(const Json &object, const char *key) { return object.at(key).get<std::string>(); }

// Every field there and well-formed; others are a later version's business.
void require(const Json &data, const Fields &fields, const std::string &where) {
    if (!data.is_object()) throw BundleError(where + " is no JSON object. Export the bundle again");
    const Json null;
    for (const Field &field : fields) {
        const auto found = data.find(field.name);
        if (field.check(found == data.end() ? null : *found)) continue;
        const std::string how = found == data.end() ? "is missing" : "is " + shortened(*found);
        throw BundleError(repr(field.name) + " of " + where + " " + how +
                          ". Export the bundle again");
    }
}

// A plain relative path that stays in the bundle.
void require_inside(const std::string &name) {
    const std::string path = "/" + path_text(name) + "/";
    const bool leaves = name.empty() || name.front() == '/' || path == "/./" ||
                        path.find("/../") != std::string::npos ||
                        name.find('\\') != std::string::npos ||
                        name.find('\0') != std::string::npos;
    if (leaves) throw BundleError("it names " + repr(name) + ", a path that leaves the bundle");
}

// A call's frames have no more values than an int counts.
void require_countable(const Json &entry, const std::string &where) {
    double values = 3;
    std::string frames;
    for (const char *axis : {"batch", "height", "width"}) {
        const Json &extent = entry.at(axis);
        const int largest = (extent.is_array() ? extent[2] : extent).get<int>();
        values *= largest;
        frames += (frames.empty() ? "" : "x") + std::to_string(largest);
    }
    constexpr int most = std::numeric_limits<int>::max();
    if (values > most)
        throw BundleError(where + " takes " + frames + " frames: more than " +
                          std::to_string(most) + " values. Export the bundle again");
}

void check_folding(const Json &folding) {
    require(folding, kFolding, "folding");
    for (const char *when : {"before", "after"})
        require(folding.at(when), kSizes, std::string("folding.") + when);
}

void check_graph(const Json &graph, const std::string &where, const Json &files) {
    require(graph, kGraph, where);
    require_countable(graph, where);
    for (const char *side : {"inputs", "outputs"})
        for (const Json &tensor : graph.at(side)) require(tensor, kTensor, "a tensor of " + where);
    for (const char *key : {"file", "data"})
        if (!files.contains(text(graph, key)))
            throw BundleError("it has no hash for " + text(graph, key) +
                              ". Export the bundle again");
}

void check_engine(const Json &engine, const std::string &where, const Json &manifest) {
    require(engine, kEngine, where);
    require_countable(engine, where);
    if (!manifest.at("files").contains(text(engine, "file")))
        throw BundleError("it has no hash for " + text(engine, "file") +
                          ". Build the engine again");
    for (const Json &graph : manifest.at("graphs"))
        if (graph.at("name") == engine.at("graph") &&
            graph.at("precision") == engine.at("precision"))
            return;
    throw BundleError(where + " was built from " + text(engine, "graph") + "." +
                      text(engine, "precision") + ", which is not there");
}

void check_golden(const Json &golden, const Json &files) {
    require(golden, kGolden, "golden");
    for (const auto &[precision, threshold] : golden.at("thresholds").items())
        require(threshold, kThreshold, "golden.thresholds[" + repr(precision) + "]");
    const Json &frames = golden.at("frames");
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const Json &frame = frames[i];
        const std::string where = "golden.frames[" + std::to_string(i) + "]";
        require(frame, kFrame, where);
        Json sizes = frame;
        sizes["batch"] = 1;
        require_countable(sizes, where);
        for (const auto &[name, result] : frame.at("tensors").items())
            require(result, kResult, where + ".tensors[" + repr(name) + "]");
        if (!files.contains(text(frame, "file")))
            throw BundleError("it has no hash for " + text(frame, "file") +
                              ". Export the bundle again");
    }
}

using Names = std::set<std::string>;

Names tensor_names(const Json &tensors) {
    Names names;
    for (const Json &tensor : tensors) names.insert(text(tensor, "name"));
    return names;
}

std::string sorted(const Names &names) {
    return repr(std::vector<std::string>(names.begin(), names.end()));
}

bool contains_all(const Names &all, const Names &part) {
    return std::includes(all.begin(), all.end(), part.begin(), part.end());
}

bool overlap(const Names &left, const Names &right) {
    return std::any_of(left.begin(), left.end(),
                       [&](const std::string &name) { return right.count(name) > 0; });
}

// Each way from frame to depth has every graph it needs, in order and once.
void check_chains(const Json &graphs) {
    struct Chain {
        bool fused;
        std::string precision;
        Names made;
    };
    std::vector<Chain> chains;
    for (const Json &graph : graphs) {
        const bool fused = graph.at("name") == "fused";
        const std::string precision = text(graph, "precision");
        auto chain = std::find_if(chains.begin(), chains.end(), [&](const Chain &known) {
            return known.fused == fused && known.precision == precision;
        });
        if (chain == chains.end()) chain = chains.insert(chain, Chain{fused, precision, {"image"}});
        const Names inputs = tensor_names(graph.at("inputs"));
        const Names outputs = tensor_names(graph.at("outputs"));
        if (!contains_all(chain->made, inputs) || overlap(outputs, chain->made))
            throw BundleError("graph " + text(graph, "name") + "." + precision +
                              " is out of place: it takes " + sorted(inputs) + ", and there is " +
                              sorted(chain->made) + ". Export the bundle again");
        chain->made.insert(outputs.begin(), outputs.end());
    }
    for (const Chain &chain : chains)
        if (chain.made.count("depth") == 0)
            throw BundleError(std::string("its ") + (chain.fused ? "fused " : "staged ") +
                              chain.precision + " graphs give no depth. Export the bundle again");
}

std::string numbered(const char *list, std::size_t index) {
    return std::string(list) + "[" + std::to_string(index) + "]";
}

}  // namespace

void check_manifest(const Json &manifest) {
    Json version;
    if (manifest.is_object() && manifest.contains("schema_version"))
        version = manifest.at("schema_version");
    if (!version.is_number_integer() || version != kSchemaVersion)
        throw BundleError("it has schema_version " + shortened(version) +
                          " and this program reads " + std::to_string(kSchemaVersion) +
                          ". Export the bundle again, or install the version that wrote it");
    require(manifest, kManifest, "the manifest");
    require(manifest.at("source"), kSource, "source");
    const auto folding = manifest.find("folding");
    if (folding != manifest.end() && !folding->is_null()) check_folding(*folding);
    const Json &files = manifest.at("files");
    for (const auto &[name, entry] : files.items()) {
        require_inside(name);
        require(entry, kFile, "files[" + repr(name) + "]");
    }
    const Json &graphs = manifest.at("graphs"), &engines = manifest.at("engines");
    for (std::size_t i = 0; i < graphs.size(); ++i)
        check_graph(graphs[i], numbered("graphs", i), files);
    for (std::size_t i = 0; i < engines.size(); ++i)
        check_engine(engines[i], numbered("engines", i), manifest);
    const auto golden = manifest.find("golden");
    if (golden != manifest.end() && !golden->is_null()) check_golden(*golden, files);
    const Json &parity = manifest.at("parity");
    for (std::size_t i = 0; i < parity.size(); ++i)
        require(parity[i], kParity, numbered("parity", i));
    check_chains(graphs);
}

}  // namespace apdepth::detail
