// One caller's way through an engine: context, buffers, a stream, and a CUDA graph. Knows nothing
// about bundles.
#pragma once

#include <memory>

#include <NvInferRuntime.h>

#include "../runner.hpp"
#include "cuda.hpp"
#include "engine.hpp"

namespace apdepth::detail::tensorrt {

// To be made, used and destroyed with the engine's device current, by one thread at a time, and for
// either `infer` or `enqueue`. A call that fails leaves nothing queued.
class Lane {
  public:
    // `done`: the end of what `enqueue` queued last. Lanes that share it follow each other on the
    // GPU, whatever streams they are given. Throws BackendError where there is no room.
    Lane(LoadedEngine &engine, cudaEvent_t done);
    // Waits for `done`: nothing that is queued may lose its memory.
    ~Lane();

    // Depth of frames, filled up to as many as the engine takes at once. Waits for it.
    void infer(const Frame &image, int batch, float *depth);

    // Queue one run on a stream of the caller's, from and to the caller's memory. An address that
    // TensorRT can't take is served by a copy on the device.
    void enqueue(const DeviceFrames &frames);

    // Of the last run; zeros before the first. Another size costs TensorRT time and the CUDA graph.
    const Sizes &sizes() const { return sizes_; }

    // Whether that was the first one with its sizes since others: all its kernels are compiled now.
    bool is_first() const { return runs_ == 1; }

  private:
    void compute(const Frame &image, int batch);
    void queue_all(const DeviceFrames &frames);
    void reshape(const Sizes &sizes);
    void bind(void *image, void *depth);
    void queue(cudaStream_t stream);
    bool launch();
    Graph capture();

    LoadedEngine &engine_;
    cudaEvent_t done_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    Stream stream_;
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
