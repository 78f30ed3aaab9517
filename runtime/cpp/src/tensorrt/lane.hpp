// One caller's way through an engine: context, buffers, a stream, and a CUDA graph. Knows nothing
// about bundles.
#pragma once

#include <array>
#include <memory>

#include <NvInferRuntime.h>

#include "../runner.hpp"
#include "cuda.hpp"

namespace apdepth::detail::tensorrt {

// [batch, height, width] of frames.
using Sizes = std::array<int, 3>;

// To be used by one thread at a time, with the engine's device current. Whatever stream a run is
// queued on, it waits for the lane's last one: they share a context.
class Lane {
  public:
    // Takes the context over. `captures`: capture runs in a CUDA graph; TensorRT for RTX does that
    // by itself. Throws BackendError where there is no room.
    Lane(nvinfer1::IExecutionContext *context, const Sizes &largest, bool captures);
    // Waits: nothing that is queued may lose its memory.
    ~Lane();

    // Depth of one frame, copied as often as the engine takes frames at once. Waits for it.
    void infer(const Frame &image, int copies, float *depth);

    // Queue one run on a stream of the caller's, from and to the caller's memory. An address that
    // TensorRT can't take is served by a copy on the device.
    void enqueue(const DeviceFrames &frames);

    // Whether this was the first run with these sizes: all its kernels are compiled now.
    bool is_first() const { return runs_ == 1; }

  private:
    void reshape(const Sizes &sizes);
    void bind(void *image, void *depth);
    void queue(cudaStream_t stream);
    void run();
    bool launch();
    Graph capture();

    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
    Event done_;
    DeviceMemory image_, depth_;
    PinnedMemory host_image_, host_depth_;
    Graph graph_;  // for the sizes at hand
    Sizes sizes_{};
    void *bound_image_ = nullptr;
    void *bound_depth_ = nullptr;
    int runs_ = 0;  // with the sizes at hand
    bool captures_;
};

}  // namespace apdepth::detail::tensorrt
