#include "self_test.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include <nlohmann/json.hpp>

#include "../src/sha256.hpp"
#include "arguments.hpp"
#include "npz.hpp"

namespace {

using Json = nlohmann::json;

struct Golden {
    std::string name;
    int height, width;
    std::vector<std::uint8_t> rgb;
    std::vector<float> depth;
};

// How far depth strays, over its finite values; `bad` counts the others.
struct Measured {
    double mean, max;
    std::size_t bad;
};

std::string read_file(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " can't be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string digest(const std::string &bytes) {
    apdepth::detail::Sha256 hash;
    hash.update(bytes.data(), bytes.size());
    return apdepth::detail::to_hex(hash.finish());
}

const std::string &stored(const std::map<std::string, Array> &arrays, const char *name,
                          const char *type, std::size_t rows, std::size_t bytes) {
    const auto found = arrays.find(name);
    const bool fits = found != arrays.end() && found->second.type == type &&
                      found->second.shape.size() == 2 && found->second.shape[0] == rows &&
                      found->second.data.size() == bytes;
    if (!fits) throw std::runtime_error(std::string("its ") + name + " has another shape");
    return found->second.data;
}

// Values are stored as differences in a row, modulo their type.
std::vector<std::uint8_t> colours(const std::string &data, std::size_t row) {
    std::vector<std::uint8_t> rgb(data.begin(), data.end());
    for (std::size_t i = 0; i < rgb.size(); ++i)
        if (i % row >= 3) rgb[i] = static_cast<std::uint8_t>(rgb[i] + rgb[i - 3]);
    return rgb;
}

std::vector<float> depths(const std::string &data, std::size_t width, double scale) {
    std::vector<float> depth(data.size() / 2);
    std::uint16_t sum = 0;
    for (std::size_t i = 0; i < depth.size(); ++i) {
        const auto low = static_cast<std::uint8_t>(data[2 * i]);
        const auto high = static_cast<std::uint8_t>(data[2 * i + 1]);
        const int difference = high << 8 | low;
        sum = static_cast<std::uint16_t>((i % width == 0 ? 0 : sum) + difference);
        depth[i] = static_cast<float>(static_cast<std::int16_t>(sum) * scale / 32767);
    }
    return depth;
}

Golden read_golden(const std::string &bundle, const Json &files, const Json &entry) {
    const std::string file = entry.at("file"), path = bundle + "/" + file;
    const std::string bytes = read_file(path);
    if (digest(bytes) != files.at(file).at("sha256"))
        throw std::runtime_error(path + " is damaged: its SHA-256 is not the manifest's");
    const int height = entry.at("height"), width = entry.at("width");
    const std::size_t rows = static_cast<std::size_t>(height),
                      row = static_cast<std::size_t>(width);
    try {
        const auto arrays = read_npz(bytes, 64 * rows * row + (1 << 16));
        const double scale = entry.at("tensors").at("depth").at("scale");
        return {entry.at("name"), height, width,
                colours(stored(arrays, "image", "|u1", rows, 3 * rows * row), 3 * row),
                depths(stored(arrays, "depth", "<i2", rows, 2 * rows * row), row, scale)};
    } catch (const std::exception &error) {
        throw std::runtime_error(path + " holds no golden frame: " + error.what());
    }
}

Measured compare(const std::vector<float> &found, const std::vector<float> &expected) {
    double sum = 0, max = 0;
    std::size_t bad = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (!std::isfinite(found[i])) {
            ++bad;
            continue;
        }
        const double difference = std::abs(double(found[i]) - double(expected[i]));
        sum += difference;
        max = std::max(max, difference);
    }
    const std::size_t finite = found.size() - bad;
    return {finite > 0 ? sum / static_cast<double>(finite) : 0, max, bad};
}

std::string number(const char *form, double value) {
    char text[32];
    std::snprintf(text, sizeof text, form, value);
    return text;
}

// As apdepth_deploy/verify.py says it; empty where depth keeps to the threshold.
std::string miss(const Measured &found, const Json &limit, const std::string &where) {
    const double mean = limit.at("mean_abs");
    const bool has_max = limit.contains("max_abs") && !limit.at("max_abs").is_null();
    const double max = has_max ? limit.at("max_abs").get<double>() : INFINITY;
    if (found.bad == 0 && found.mean <= mean && found.max <= max) return "";
    return where + ": " +
           (found.bad > 0 ? std::to_string(found.bad) + " NaN/Inf"
                          : "mean " + number("%.2e", found.mean)) +
           ", max " + number("%.2e", found.max) + "; allowed: mean " + number("%.2e", mean) + ", " +
           (has_max ? "max " + number("%.2e", max) + ", " : "") + "no NaN/Inf";
}

}  // namespace

void self_test(const std::string &bundle, const apdepth::Predictor &predictor) {
    const Json manifest = Json::parse(read_file(bundle + "/manifest.json"));
    if (!manifest.contains("golden") || manifest.at("golden").is_null())
        throw std::runtime_error(bundle +
                                 " has no golden frames: export it again, without --no-verify");
    const Json &section = manifest.at("golden");
    const std::string precision = predictor.info().precision;
    const Json &limit = section.at("thresholds").at(precision);
    std::string first;
    for (const Json &entry : section.at("frames")) {
        const Golden golden = read_golden(bundle, manifest.at("files"), entry);
        const Measured found =
            compare(predictor({golden.rgb.data(), golden.height, golden.width}), golden.depth);
        const std::string missed =
            miss(found, limit,
                 "fused." + precision + " strays from PyTorch, first in stage 'depth' (" +
                     golden.name + " frame)");
        std::printf("%s: depth max abs %.1e, mean abs %.1e, %zu NaN/Inf: %s\n", golden.name.c_str(),
                    found.max, found.mean, found.bad, missed.empty() ? "ok" : "STRAYS");
        if (first.empty()) first = missed;
    }
    if (!first.empty()) throw CheckFailed(first);
}
