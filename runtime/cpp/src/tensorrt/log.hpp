// TensorRT's log, kept instead of printed: the first error since it was cleared.
#pragma once

#include <string>

#include <NvInferRuntime.h>

namespace apdepth::detail::tensorrt {

// One for the process, since TensorRT keeps the first logger that it is given. What is said is kept
// for each thread by itself.
class Log final : public nvinfer1::ILogger {
  public:
    static Log &instance();
    static void clear();
    static std::string first();

    void log(Severity severity, const char *message) noexcept override;
};

}  // namespace apdepth::detail::tensorrt
