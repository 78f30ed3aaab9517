#include "log.hpp"

#include "../error.hpp"

namespace apdepth::detail::tensorrt {
namespace {

thread_local std::string first_error;

}  // namespace

Log &Log::instance() {
    static Log *const log = new Log;  // outlives TensorRT's own statics
    return *log;
}

void Log::clear() { first_error.clear(); }

std::string Log::first() { return first_error; }

void Log::log(Severity severity, const char *message) noexcept {
    if (severity > Severity::kERROR || !first_error.empty()) return;
    try {
        first_error = one_line(message).substr(0, 200);
    } catch (...) {  // no room for the words: the failure is told without
    }
}

}  // namespace apdepth::detail::tensorrt
