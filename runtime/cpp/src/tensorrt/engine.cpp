#include "engine.hpp"

#include "../error.hpp"
#include "../file.hpp"
#include "cuda.hpp"
#include "log.hpp"

#ifdef TRT_MAJOR_RTX
#include "cache_file.hpp"
#endif

namespace apdepth::detail::tensorrt {

using nvinfer1::DataType;
using nvinfer1::OptProfileSelector;
using nvinfer1::TensorIOMode;

LoadedEngine::LoadedEngine(const Bundle &bundle, const Choice &choice) : choice_(choice) {
    deserialize(bundle);
    check_tensors();
    prepare_contexts(bundle);
}

void LoadedEngine::deserialize(const Bundle &bundle) {
    std::string plan;
    try {
        plan = read_file(bundle.path(choice_.engine.file));
    } catch (const FileError &error) {
        throw BackendError(choice_.engine.file + " can't be read: " + error_text(error.code));
    }
    Log::clear();
    runtime_.reset(nvinfer1::createInferRuntime(Log::instance()));
    if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine_) throw refusal("can't be loaded", choice_.mend);
}

// The engine's tensors are a fused graph's, of the manifest's sizes: depth is written through the
// caller's pointer.
void LoadedEngine::check_tensors() const {
    const bool both = engine_->getNbIOTensors() == 2;
    const bool input = engine_->getTensorIOMode("image") == TensorIOMode::kINPUT &&
                       engine_->getTensorDataType("image") == DataType::kUINT8;
    const bool output = engine_->getTensorIOMode("depth") == TensorIOMode::kOUTPUT &&
                        engine_->getTensorDataType("depth") == DataType::kFLOAT;
    if (!both || !input || !output)
        throw BackendError(
            choice_.engine.file +
            " has other tensors than image uint8 and depth float32: " + choice_.mend);
    if (!shape_is(OptProfileSelector::kMIN, &apdepth_range::min) ||
        !shape_is(OptProfileSelector::kMAX, &apdepth_range::max))
        throw BackendError(choice_.engine.file +
                           " takes other frames than the manifest says: " + choice_.mend);
}

bool LoadedEngine::shape_is(OptProfileSelector end, int apdepth_range::*size) const {
    nvinfer1::Dims shape = engine_->getTensorShape("image");
    bool dynamic = false;
    for (int axis = 0; axis < shape.nbDims; ++axis) dynamic = dynamic || shape.d[axis] < 0;
    if (dynamic) shape = engine_->getProfileShape("image", 0, end);
    const FrameRange &frame = choice_.engine.frame;
    return shape.nbDims == 4 && shape.d[0] == frame.batch.*size &&
           shape.d[1] == frame.height.*size && shape.d[2] == frame.width.*size && shape.d[3] == 3;
}

void LoadedEngine::prepare_contexts(const Bundle &bundle) {
#ifdef TRT_MAJOR_RTX
    int driver = 0;
    APDEPTH_CUDA(cudaDriverGetVersion(&driver));
    const std::string folder = cache_folder(), &file = choice_.engine.file;
    const std::string name =
        cache_name(choice_.gpu, driver, choice_.engine.version, bundle.hashes.at(file));
    contexts_ = std::make_unique<RtxContexts>(*engine_, folder.empty() ? "" : folder + "/" + name);
#else
    static_cast<void>(bundle);
#endif
}

std::unique_ptr<nvinfer1::IExecutionContext> LoadedEngine::make_context() {
    const std::lock_guard<std::mutex> lock(making_);  // what one compiles, the next one finds
    Log::clear();
#ifdef TRT_MAJOR_RTX
    std::unique_ptr<nvinfer1::IExecutionContext> context(contexts_->make());
#else
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine_->createExecutionContext());
#endif
    if (!context) throw refusal("gives no execution context");
    return context;
}

void LoadedEngine::keep_kernels(const Sizes &sizes) {
#ifdef TRT_MAJOR_RTX
    {
        const std::lock_guard<std::mutex> lock(seen_mutex_);
        if (!seen_.insert(sizes).second) return;
    }
    contexts_->save();
#else
    static_cast<void>(sizes);
#endif
}

Sizes LoadedEngine::largest() const {
    const FrameRange &frame = choice_.engine.frame;
    return {frame.batch.max, frame.height.max, frame.width.max};
}

BackendError LoadedEngine::refusal(const std::string &what, std::string remedy) const {
    const std::string said = Log::first();
    if (said.find("emory") != std::string::npos) {
        const std::uint64_t needs = choice_.engine.weights_bytes + choice_.engine.activation_bytes;
        remedy = "it needs about " + std::to_string(needs / 1000000) + " MB; " +
                 memory_hint(choice_.ordinal);
    }
    return BackendError(choice_.engine.file + " " + what + " (" +
                        (said.empty() ? "no reason given" : said) + "): " + remedy);
}

}  // namespace apdepth::detail::tensorrt
