#include "runner.hpp"

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <NvInferRuntime.h>

#include "../error.hpp"
#include "../file.hpp"
#include "cache_file.hpp"
#include "cuda.hpp"
#include "lane.hpp"
#include "log.hpp"
#include "version.hpp"

#ifdef TRT_MAJOR_RTX
#include "rtx.hpp"
#endif

namespace apdepth::detail::tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::TensorIOMode;

Sizes largest(const FrameRange &frame) {
    return {frame.batch.max, frame.height.max, frame.width.max};
}

class TensorRtRunner final : public Runner {
  public:
    TensorRtRunner(const Bundle &bundle, const Choice &choice) : choice_(choice) {
        const Engine &entry = choice.engine;
        backend = entry.target;
        device = "cuda:" + std::to_string(choice.ordinal);
        precision = entry.precision;
        frame = entry.frame;
        warning = choice.warning;
        reason = backend + " on " + device + ", " + precision + ", fused engine: built for " +
                 choice.gpu.name + " (" + choice.gpu.compute_capability + ")";
        const OnDevice current(choice.ordinal);
        deserialize(bundle);
        check_engine();
        prepare_contexts(bundle);
        give_back(make_lane());  // what doesn't fit in memory is better known now
    }

    ~TensorRtRunner() override {
        int before = 0;  // no call is checked: nothing may be thrown here
        cudaGetDevice(&before);
        cudaSetDevice(choice_.ordinal);
        free_.clear();
        queued_.reset();
#ifdef TRT_MAJOR_RTX
        contexts_.reset();
#endif
        engine_.reset();
        runtime_.reset();
        cudaSetDevice(before);
    }

    void infer(const Frame &image, float *depth) override {
        const OnDevice current(choice_.ordinal);
        auto lane = take();
        lane->infer(image, frame.batch.min, depth);
        keep_kernels(*lane);
        give_back(std::move(lane));
    }

    void infer_async(const DeviceFrames &frames) override {
        check_size(*this, frames.batch, frames.height, frames.width);
        const OnDevice current(choice_.ordinal);
        if (is_capturing(static_cast<cudaStream_t>(frames.stream)))
            throw UsageError("the stream is being captured in a CUDA graph: call outside of it");
        check_place(frames.rgb, "rgb");
        check_place(frames.depth, "depth");
        const std::lock_guard<std::mutex> lock(queue_mutex_);
        if (!queued_) queued_ = make_lane();
        queued_->enqueue(frames);
        keep_kernels(*queued_);
    }

  private:
    void deserialize(const Bundle &bundle) {
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

    // The engine's tensors are a fused graph's, of the manifest's sizes: depth is written through
    // the caller's pointer.
    void check_engine() {
        const bool both = engine_->getNbIOTensors() == 2;
        const bool input = engine_->getTensorIOMode("image") == TensorIOMode::kINPUT &&
                           engine_->getTensorDataType("image") == DataType::kUINT8;
        const bool output = engine_->getTensorIOMode("depth") == TensorIOMode::kOUTPUT &&
                            engine_->getTensorDataType("depth") == DataType::kFLOAT;
        if (!both || !input || !output)
            throw BackendError(choice_.engine.file +
                               " has other tensors than image uint8 and depth "
                               "float32: " +
                               choice_.mend);
        using nvinfer1::OptProfileSelector;
        if (!shape_is(OptProfileSelector::kMIN, &apdepth_range::min) ||
            !shape_is(OptProfileSelector::kMAX, &apdepth_range::max))
            throw BackendError(choice_.engine.file +
                               " takes other frames than the manifest says: " + choice_.mend);
    }

    bool shape_is(nvinfer1::OptProfileSelector end, int apdepth_range::*size) const {
        nvinfer1::Dims shape = engine_->getTensorShape("image");
        bool dynamic = false;
        for (int axis = 0; axis < shape.nbDims; ++axis) dynamic = dynamic || shape.d[axis] < 0;
        if (dynamic) shape = engine_->getProfileShape("image", 0, end);
        return shape.nbDims == 4 && shape.d[0] == frame.batch.*size &&
               shape.d[1] == frame.height.*size && shape.d[2] == frame.width.*size &&
               shape.d[3] == 3;
    }

    void prepare_contexts(const Bundle &bundle) {
#ifdef TRT_MAJOR_RTX
        int driver = 0;
        APDEPTH_CUDA(cudaDriverGetVersion(&driver));
        const std::string folder = cache_folder(), &file = choice_.engine.file;
        const std::string name =
            cache_name(choice_.gpu, driver, choice_.engine.version, bundle.hashes.at(file));
        contexts_ =
            std::make_unique<RtxContexts>(*engine_, folder.empty() ? "" : folder + "/" + name);
#else
        static_cast<void>(bundle);
#endif
    }

    std::unique_ptr<Lane> make_lane() {
        Log::clear();
#ifdef TRT_MAJOR_RTX
        nvinfer1::IExecutionContext *context = contexts_->make();
        const bool captures = false;
#else
        nvinfer1::IExecutionContext *context = engine_->createExecutionContext();
        const bool captures = true;
#endif
        if (context == nullptr)
            throw refusal("gives no execution context", "`apdepth-deploy doctor`");
        return std::make_unique<Lane>(context, largest(frame), captures);
    }

    void keep_kernels(const Lane &lane) {
#ifdef TRT_MAJOR_RTX
        if (lane.is_first()) contexts_->save();
#else
        static_cast<void>(lane);
#endif
    }

    std::unique_ptr<Lane> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return make_lane();
        auto lane = std::move(free_.back());
        free_.pop_back();
        return lane;
    }

    void give_back(std::unique_ptr<Lane> lane) {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(lane));
    }

    void check_place(const void *memory, const char *name) const {
        const int place = device_of(memory);
        if (place == choice_.ordinal) return;
        const std::string where =
            place < 0 ? "memory that is on no GPU" : "cuda:" + std::to_string(place);
        throw ImageError(std::string(name) + " is on " + where + " and the engine on " + device +
                         ": copy it there");
    }

    // What TensorRT said about it: the first line is the cause, later ones its echo.
    BackendError refusal(const std::string &what, std::string remedy) const {
        const std::string said = Log::first();
        if (said.find("emory") != std::string::npos) {
            const std::uint64_t needs =
                choice_.engine.weights_bytes + choice_.engine.activation_bytes;
            remedy = "it needs about " + std::to_string(needs / 1000000) + " MB; " +
                     memory_hint(choice_.ordinal);
        }
        return BackendError(choice_.engine.file + " " + what + " (" +
                            (said.empty() ? "no reason given" : said) + "): " + remedy);
    }

    Choice choice_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
#ifdef TRT_MAJOR_RTX
    std::unique_ptr<RtxContexts> contexts_;
#endif
    std::mutex mutex_, queue_mutex_;
    std::vector<std::unique_ptr<Lane>> free_;
    std::unique_ptr<Lane> queued_;  // for work on streams of the caller's
};

}  // namespace

std::unique_ptr<Runner> make_runner(const Bundle &bundle, const Choice &choice) {
    return std::make_unique<TensorRtRunner>(bundle, choice);
}

}  // namespace apdepth::detail::tensorrt
