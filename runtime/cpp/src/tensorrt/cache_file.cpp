#include "cache_file.hpp"

#include <algorithm>

#include "../file.hpp"
#include "../sha256.hpp"

namespace apdepth::detail::tensorrt {
namespace {

std::string digest(const char *bytes, std::size_t size) {
    Sha256 hash;
    hash.update(bytes, size);
    const Sha256::Digest found = hash.finish();
    return {found.begin(), found.end()};
}

// Runs of anything but letters and digits become one "-", none at the ends.
std::string plain(const std::string &name) {
    std::string out;
    for (const char c : name) {
        const bool kept =
            ('0' <= c && c <= '9') || ('A' <= c && c <= 'Z') || ('a' <= c && c <= 'z');
        if (kept) out += c;
        else if (!out.empty() && out.back() != '-') out += '-';
    }
    if (!out.empty() && out.back() == '-') out.pop_back();
    return out;
}

}  // namespace

std::string cache_name(const Gpu &gpu, int driver, const std::string &version,
                       const std::string &plan_sha256) {
    std::string capability = gpu.compute_capability;
    capability.erase(std::remove(capability.begin(), capability.end(), '.'), capability.end());
    return plain(gpu.name) + ".sm" + capability + ".driver" + std::to_string(driver) + ".trtrtx" +
           version + "." + plan_sha256.substr(0, 16) + ".cache";
}

std::string read_cache(const std::string &path) {
    constexpr std::size_t kDigest = Sha256::Digest().size();
    try {
        const std::string bytes = read_file(path);
        if (bytes.size() <= kDigest) return "";
        const std::string kernels = bytes.substr(kDigest);
        return digest(kernels.data(), kernels.size()) == bytes.substr(0, kDigest) ? kernels : "";
    } catch (const FileError &) {
        return "";
    }
}

void write_cache(const std::string &path, const std::string &kernels) {
    if (!kernels.empty()) write_file(path, digest(kernels.data(), kernels.size()) + kernels);
}

}  // namespace apdepth::detail::tensorrt
