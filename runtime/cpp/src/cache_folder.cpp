#include "cache_folder.hpp"

#include <cstdlib>

namespace apdepth::detail {
namespace {

std::string variable(const char *name) {
    const char *value = std::getenv(name);
    return value == nullptr ? "" : value;
}

}  // namespace

std::string cache_folder() {
    const std::string base = variable("XDG_CACHE_HOME"), home = variable("HOME");
    if (!base.empty()) return base + "/apdepth-deploy";
    return home.empty() ? "" : home + "/.cache/apdepth-deploy";
}

}  // namespace apdepth::detail
