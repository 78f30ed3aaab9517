// What goes wrong inside: caught at the C boundary, never seen outside of it.
#pragma once

#include <stdexcept>
#include <string>

#include "apdepth.h"

namespace apdepth::detail {

class Error : public std::runtime_error {
  public:
    Error(apdepth_status failed, const std::string &message)
        : std::runtime_error(message), status(failed) {}

    apdepth_status status;
};

// The tree of apdepth_deploy/errors.py, as far as a runtime needs it.
struct UsageError : Error {
    explicit UsageError(const std::string &message) : Error(APDEPTH_USAGE_ERROR, message) {}
};

struct ImageError : Error {
    explicit ImageError(const std::string &message) : Error(APDEPTH_IMAGE_ERROR, message) {}
};

struct BundleError : Error {
    explicit BundleError(const std::string &message) : Error(APDEPTH_BUNDLE_ERROR, message) {}
};

struct BackendError : Error {
    explicit BackendError(const std::string &message) : Error(APDEPTH_BACKEND_ERROR, message) {}
};

// An engine library's own message as one line of at most 300 bytes.
std::string one_line(const std::string &message);

}  // namespace apdepth::detail
