// What the library says to a caller who listens.
#pragma once

#include <string>

#include "apdepth.h"

namespace apdepth::detail {

struct Log {
    apdepth_log call = nullptr;
    void *data = nullptr;

    void info(const std::string &message) const { say(APDEPTH_LOG_INFO, message); }
    void warn(const std::string &message) const { say(APDEPTH_LOG_WARNING, message); }

  private:
    void say(apdepth_log_level level, const std::string &message) const {
        if (call != nullptr) call(data, level, message.c_str());
    }
};

}  // namespace apdepth::detail
