// One TensorRT plan, opened: checked against the manifest, with contexts made from it. Knows nothing
// about buffers and streams. runtime/engines/tensorrt/engine.py, for fused engines.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include <NvInferRuntime.h>

#include "../choice.hpp"

#ifdef TRT_MAJOR_RTX
#include "rtx.hpp"
#endif

namespace apdepth::detail::tensorrt {

// [batch, height, width] of frames.
using Sizes = std::array<int, 3>;

// To be made, used and destroyed with its device current. Safe to use from several threads.
class LoadedEngine {
  public:
    // Throws BackendError: TensorRT refuses the plan, or it isn't what the manifest says.
    LoadedEngine(const Bundle &bundle, const Choice &choice);

    // Throws BackendError where TensorRT refuses, as it does where there is no room.
    std::unique_ptr<nvinfer1::IExecutionContext> make_context();

    // After the first run of a context with these sizes: what was compiled for them is kept.
    void keep_kernels(const Sizes &sizes);

    Sizes largest() const;

    // What TensorRT said about it on this thread since Log::clear: the first line is the cause,
    // later ones its echo.
    BackendError refusal(const std::string &what,
                         std::string remedy = "`apdepth-deploy doctor`") const;

  private:
    void deserialize(const Bundle &bundle);
    void check_tensors() const;
    bool shape_is(nvinfer1::OptProfileSelector end, int apdepth_range::*size) const;
    void prepare_contexts(const Bundle &bundle);

    Choice choice_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::mutex making_;
#ifdef TRT_MAJOR_RTX
    std::unique_ptr<RtxContexts> contexts_;
    std::mutex seen_mutex_;
    std::set<Sizes> seen_;  // their kernels are kept
#endif
};

}  // namespace apdepth::detail::tensorrt
