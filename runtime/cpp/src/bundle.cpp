#include "bundle.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "error.hpp"
#include "file.hpp"
#include "manifest.hpp"
#include "python_text.hpp"
#include "sha256.hpp"

namespace apdepth::detail {
namespace {

namespace fs = std::filesystem;

constexpr const char *kManifest = "manifest.json";
constexpr int kDeepest = 64;

std::string join(const std::string &folder, const std::string &name) {
    return path_text(folder == "." ? name : folder + "/" + name);
}

BundleError unreadable(const std::string &path, const std::string &why) {
    return BundleError(path + " can't be read: " + why + ". Export the bundle again");
}

Json parse(const std::string &bytes) {
    using Event = Json::parse_event_t;
    std::vector<std::set<std::string>> names;  // of the objects that are open
    return Json::parse(bytes, [&](int depth, Event event, Json &value) {
        if (depth > kDeepest)
            throw std::invalid_argument("it is nested more than " + std::to_string(kDeepest) +
                                        " deep");
        if (event == Event::object_start) names.emplace_back();
        if (event == Event::object_end) names.pop_back();
        if (event == Event::key && !names.back().insert(value.get<std::string>()).second)
            throw std::invalid_argument("an object has two values of one name");
        return true;
    });
}

Json read_manifest(const std::string &folder, const std::string &path) {
    try {
        return parse(read_file(path));
    } catch (const FileError &error) {
        if (error.code == ENOENT || error.code == ENOTDIR)
            throw BundleError(folder + " is no bundle: it has no " + kManifest +
                              ". Make one with `export`");
        throw unreadable(path, "[Errno " + std::to_string(error.code) + "] " +
                                   error_text(error.code) + ": " + repr(path));
    } catch (const Json::exception &error) {
        throw unreadable(path, error.what());
    } catch (const std::invalid_argument &error) {
        throw unreadable(path, error.what());
    }
}

// A number, or [min, opt, max], that check_manifest let pass.
apdepth_range range_of(const Json &extent) {
    if (extent.is_array())
        return {extent[0].get<int>(), extent[1].get<int>(), extent[2].get<int>()};
    const int size = extent.get<int>();
    return {size, size, size};
}

FrameRange frame_of(const Json &entry) {
    return {range_of(entry.at("batch")), range_of(entry.at("height")), range_of(entry.at("width"))};
}

std::vector<Tensor> tensors_of(const Json &entries) {
    std::vector<Tensor> tensors;
    for (const Json &entry : entries) {
        Tensor tensor{entry.at("name"), entry.at("dtype"), {}};
        for (const Json &axis : entry.at("shape")) tensor.shape.push_back(range_of(axis));
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

Graph graph_of(const Json &entry) {
    return {entry.at("name"), entry.at("precision"),          entry.at("file"),
            entry.at("data"), tensors_of(entry.at("inputs")), tensors_of(entry.at("outputs")),
            frame_of(entry)};
}

Engine engine_of(const Json &entry) {
    return {entry.at("graph"),
            entry.at("precision"),
            entry.at("target"),
            entry.at("version"),
            entry.at("platform"),
            entry.at("file"),
            entry.at("compute_capabilities").get<std::vector<std::string>>(),
            frame_of(entry),
            entry.at("weights_bytes"),
            entry.at("activation_bytes")};
}

// Pixels per latent. Of the model's description nothing else is looked at: it is in the graphs.
int latent_stride(const Json &spec) {
    const auto vae = spec.find("vae");
    if (vae == spec.end() || !vae->is_object())
        throw BundleError("its spec is not one of ours: 'vae' is no JSON object");
    const bool tiny = vae->contains("_class_name") && vae->at("_class_name") == "AutoencoderTiny";
    const char *key = tiny ? "encoder_block_out_channels" : "block_out_channels";
    const auto channels = vae->find(key);
    const bool known = channels != vae->end() && channels->is_array();
    if (!known || channels->empty() || channels->size() > 16)
        throw BundleError("its spec is not one of ours: " + repr(key) + " is no list of layers");
    return 1 << (channels->size() - 1);
}

std::string model_name(const Json &spec) {
    const auto name = spec.find("name");
    return name != spec.end() && name->is_string() ? name->get<std::string>() : "unnamed";
}

void check_sides(const std::vector<Graph> &graphs, int stride) {
    const auto fits = [&](const apdepth_range &side) {
        return side.min % stride == 0 && side.opt % stride == 0 && side.max % stride == 0;
    };
    for (const Graph &graph : graphs)
        if (!fits(graph.frame.height) || !fits(graph.frame.width))
            throw BundleError("a height or width is no multiple of " + std::to_string(stride) +
                              ". Export it again");
}

bool is_inside(const fs::path &path, const fs::path &folder, std::error_code &failed) {
    const fs::path real = fs::canonical(path, failed);
    if (failed) return false;
    const fs::path base = fs::canonical(folder, failed);
    if (failed) return false;
    return std::mismatch(base.begin(), base.end(), real.begin(), real.end()).first == base.end();
}

void check_file(const Bundle &bundle, const std::string &name, std::uint64_t size) {
    const std::string path = bundle.path(name);
    std::error_code failed;
    const bool has_null = name.find('\0') != std::string::npos;  // would name another file
    const fs::file_status status = has_null ? fs::file_status() : fs::status(path, failed);
    const bool absent = status.type() == fs::file_type::not_found ||
                        failed == std::errc::too_many_symbolic_link_levels;
    if (failed && !absent) throw BundleError(path + " can't be read: " + failed.message());
    if (has_null || !fs::is_regular_file(status))
        throw BundleError(path + " is missing from the bundle: copy the whole folder");
    const bool inside = is_inside(path, bundle.folder, failed);
    if (failed) throw BundleError(path + " can't be read: " + failed.message());
    if (!inside)
        throw BundleError(path + " is a link that leaves the bundle: copy the file itself");
    const std::uintmax_t found = fs::file_size(path, failed);
    if (failed) throw BundleError(path + " can't be read: " + failed.message());
    if (found != size)
        throw BundleError(path + " has " + std::to_string(found) + " bytes, the manifest says " +
                          std::to_string(size) + ": copy it again");
}

}  // namespace

Bundle Bundle::open(const std::string &folder) {
    Bundle bundle;
    bundle.folder = path_text(folder);
    const std::string path = bundle.path(kManifest);
    const Json manifest = read_manifest(bundle.folder, path);
    try {
        check_manifest(manifest);
        for (const Json &entry : manifest.at("graphs")) bundle.graphs.push_back(graph_of(entry));
        for (const Json &entry : manifest.at("engines")) bundle.engines.push_back(engine_of(entry));
        bundle.stride = latent_stride(manifest.at("spec"));
        check_sides(bundle.graphs, bundle.stride);
    } catch (const BundleError &error) {
        throw BundleError(path + ": " + error.what());
    }
    bundle.model = model_name(manifest.at("spec"));
    bundle.random_weights = manifest.at("source").at("kind") == "random";
    for (const auto &[name, entry] : manifest.at("files").items()) {
        check_file(bundle, name, entry.at("size").get<std::uint64_t>());
        bundle.hashes[name] = entry.at("sha256").get<std::string>();
    }
    return bundle;
}

std::string Bundle::path(const std::string &name) const { return join(folder, name); }

void Bundle::check_hash(const std::string &name) const {
    const std::string where = path(name);
    Sha256 hash;
    try {
        read_file(where, [&](const char *bytes, std::size_t size) { hash.update(bytes, size); });
    } catch (const FileError &error) {
        throw BundleError(where + " can't be read: " + error_text(error.code));
    }
    if (to_hex(hash.finish()) != hashes.at(name))
        throw BundleError(where +
                          " is damaged: its SHA-256 is not the manifest's. "
                          "Copy the bundle again, or export it again");
}

const Graph *Bundle::find_graph(const std::string &name, const std::string &precision) const {
    const auto found = std::find_if(graphs.begin(), graphs.end(), [&](const Graph &graph) {
        return graph.name == name && graph.precision == precision;
    });
    return found == graphs.end() ? nullptr : &*found;
}

}  // namespace apdepth::detail
