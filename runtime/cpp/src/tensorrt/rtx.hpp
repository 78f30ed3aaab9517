// What only TensorRT for RTX has: compiled kernels that are kept, graphs that it captures itself.
#pragma once

#include <memory>
#include <string>

namespace nvinfer1 {
class ICudaEngine;
class IExecutionContext;
}  // namespace nvinfer1

namespace apdepth::detail::tensorrt {

// Makes execution contexts of one engine that share compiled kernels.
class RtxContexts {
  public:
    // Takes over the kernels in `cache_path`, if what lies there is whole and fits; an empty path
    // keeps nothing.
    RtxContexts(nvinfer1::ICudaEngine &engine, std::string cache_path);
    ~RtxContexts();

    // nullptr where TensorRT refuses.
    nvinfer1::IExecutionContext *make();

    // Keep what has been compiled, if that is news. Safe to call from several threads.
    void save();

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace apdepth::detail::tensorrt
