// Where what engines compile is kept for the next start: runtime/engines/cache.py.
#pragma once

#include <string>

namespace apdepth::detail {

// $XDG_CACHE_HOME/apdepth-deploy, by default below ~/.cache; empty without a home.
std::string cache_folder();

}  // namespace apdepth::detail
