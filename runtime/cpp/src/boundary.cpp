#include "boundary.hpp"

#include <algorithm>
#include <string>

namespace apdepth::detail {
namespace {

thread_local std::string last;

}  // namespace

apdepth_status fail(apdepth_status status, const char *message) noexcept {
    try {
        last = message;
        std::replace(last.begin(), last.end(), '\0', ' ');
    } catch (...) {  // no room even for the message
        last.clear();
    }
    return status;
}

const char *last_error() noexcept { return last.c_str(); }

void require(const void *pointer, const char *name) {
    if (pointer == nullptr) throw UsageError(std::string(name) + " is NULL");
}

}  // namespace apdepth::detail
