// The TensorRT of fake.hpp. A plan is six numbers: the least and most batch, height and width.
#include <array>
#include <cstdint>
#include <set>
#include <sstream>
#include <string>

#include <NvInferRuntime.h>

#include "machine.hpp"

namespace {

using namespace nvinfer1;
using Shape = std::array<std::int64_t, 3>;

const std::string kKernels = "kernels of this GPU:";  // what its cache begins with

// An object that belongs to the CUDA context in which it was made.
class Made {
  public:
    Made(const char *kind, ILogger &logger) : logger_(logger), kind_(kind) {
        ++fake::machine().alive[kind_];
    }
    Made(const Made &) = delete;
    Made &operator=(const Made &) = delete;

    ILogger &logger() const { return logger_; }

    // Whether that call is to be refused, with words in the log.
    bool refuses(const fake::Entered &call) const {
        if (call.refused && !call.says.empty()) {
            logger_.log(ILogger::Severity::kWARNING, "nothing to do with it");
            logger_.log(ILogger::Severity::kERROR, call.says.c_str());
            logger_.log(ILogger::Severity::kERROR, "an echo of it");
        }
        return call.refused;
    }

    void check_context() const {
        if (fake::current() != context_)
            fake::fault(std::string(kind_) + " is used in another CUDA context than its own");
    }

  protected:
    ~Made() {
        const fake::Entered entered(std::string("~") + kind_, this);
        check_context();
        --fake::machine().alive[kind_];
    }

  private:
    ILogger &logger_;
    const char *kind_;
    fake::Context *context_ = fake::current();
};

Dims dims(const Shape &shape) { return {3, {shape[0], shape[1], shape[2]}}; }

Dims with_channels(const Shape &shape) { return Dims4(shape[0], shape[1], shape[2], 3); }

struct HostMemory final : IHostMemory {
    explicit HostMemory(std::string given) : bytes(std::move(given)) {}
    void *data() const noexcept override { return const_cast<char *>(bytes.data()); }
    std::size_t size() const noexcept override { return bytes.size(); }

    std::string bytes;
};

struct Cache final : Made, IRuntimeCache {
    explicit Cache(ILogger &logger) : Made("IRuntimeCache", logger) {}
    ~Cache() override {
        const auto lock = fake::locked();
        if (configs != 0) fake::fault("a runtime cache dies before a config that refers to it");
    }

    IHostMemory *serialize() const noexcept override {
        const fake::Entered entered("serialize", this);
        std::string bytes = kKernels;
        for (const Shape &shape : compiled)
            for (const std::int64_t size : shape) bytes += " " + std::to_string(size);
        return refuses(entered) ? nullptr : new HostMemory(bytes);
    }
    bool deserialize(const void *blob, std::size_t size) noexcept override {
        const fake::Entered entered("deserialize", this);
        const std::string bytes(static_cast<const char *>(blob), size);
        return !refuses(entered) && bytes.rfind(kKernels, 0) == 0;
    }

    std::set<Shape> compiled;
    mutable int configs = 0;
};

struct Config final : Made, IRuntimeConfig {
    explicit Config(ILogger &logger) : Made("IRuntimeConfig", logger) {}
    ~Config() override {
        const auto lock = fake::locked();
        if (cache != nullptr) --cache->configs;
    }

    IRuntimeCache *createRuntimeCache() const noexcept override {
        const fake::Entered entered("createRuntimeCache", this);
        return refuses(entered) ? nullptr : new Cache(logger());
    }
    bool setRuntimeCache(const IRuntimeCache &given) noexcept override {
        const fake::Entered entered("setRuntimeCache", this);
        cache = const_cast<Cache *>(dynamic_cast<const Cache *>(&given));
        ++cache->configs;
        return true;
    }
    void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy) noexcept override {}
    bool setCudaGraphStrategy(CudaGraphStrategy) noexcept override { return true; }

    Cache *cache = nullptr;
};

struct ExecutionContext final : Made, IExecutionContext {
    ExecutionContext(const Made &engine, const Shape &least, const Shape &most, Config *config)
        : Made("IExecutionContext", engine.logger()), least_(least), most_(most), config_(config) {
        if (least == most) shape_ = least;
    }
    ~ExecutionContext() override {
        const auto lock = fake::locked();
        if (runs_->done != runs_->queued) fake::fault("an execution context dies while it runs");
    }

    bool setInputShape(const char *, const Dims &shape) noexcept override {
        const fake::Entered entered("setInputShape", this);
        if (refuses(entered)) return false;
        check_context();
        for (std::size_t axis = 0; axis < 3; ++axis) {
            if (shape.d[axis] < least_[axis] || shape.d[axis] > most_[axis]) return false;
            shape_[axis] = shape.d[axis];
        }
        ++runs_->changes;
        is_warm_ = false;
        return true;
    }
    Dims getTensorShape(const char *name) const noexcept override {
        const fake::Entered entered("getTensorShape", this);
        return std::string(name) == "image" ? with_channels(shape_) : dims(shape_);
    }
    bool setTensorAddress(const char *name, void *address) noexcept override {
        const fake::Entered entered("setTensorAddress", this);
        if (refuses(entered) || reinterpret_cast<std::uintptr_t>(address) % 256 != 0) return false;
        (std::string(name) == "image" ? image_ : depth_) = static_cast<std::uint8_t *>(address);
        ++runs_->changes;
        return true;
    }
    // The first run with a shape does what a graph can't hold. A run that fails has queued a part.
    bool enqueueV3(cudaStream_t stream) noexcept override {
        const fake::Entered entered("enqueueV3", this);
        check_context();
        const bool refused = refuses(entered);
        if (!refused && fake::resolve(stream)->is_capturing && !is_warm_) return false;
        const auto pixels = static_cast<std::size_t>(shape_[0] * shape_[1] * shape_[2]);
        fake::push(stream,
                   {[image = image_, depth = reinterpret_cast<float *>(depth_), pixels, refused] {
                        for (std::size_t i = 0; i < pixels; ++i) {
                            const std::uint8_t *rgb = image + 3 * i;
                            const int sum = rgb[0] + rgb[1] + rgb[2];
                            depth[i] = refused ? -1.0F : static_cast<float>(sum) / 765.0F;
                        }
                    },
                    {image_, depth_},
                    runs_,
                    runs_->changes});
        if (refused) return false;
        is_warm_ = true;
        if (config_ != nullptr && config_->cache != nullptr)
            config_->cache->compiled.insert(shape_);
        return true;
    }

  private:
    Shape least_, most_, shape_{};
    Config *config_;
    std::uint8_t *image_ = nullptr, *depth_ = nullptr;
    bool is_warm_ = false;
    std::shared_ptr<fake::Runs> runs_ = std::make_shared<fake::Runs>();
};

struct CudaEngine final : Made, ICudaEngine {
    CudaEngine(ILogger &logger, const std::string &plan) : Made("ICudaEngine", logger) {
        std::istringstream in(plan);
        for (std::size_t axis = 0; axis < 3; ++axis) in >> least_[axis] >> most_[axis];
    }

    std::int32_t getNbIOTensors() const noexcept override { return 2; }
    TensorIOMode getTensorIOMode(const char *name) const noexcept override {
        return std::string(name) == "image" ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(const char *name) const noexcept override {
        return std::string(name) == "image" ? DataType::kUINT8 : DataType::kFLOAT;
    }
    Dims getTensorShape(const char *) const noexcept override {
        Shape shape = least_;
        for (std::size_t axis = 0; axis < 3; ++axis)
            if (least_[axis] != most_[axis]) shape[axis] = -1;
        return with_channels(shape);
    }
    Dims getProfileShape(const char *, std::int32_t,
                         OptProfileSelector select) const noexcept override {
        return with_channels(select == OptProfileSelector::kMIN ? least_ : most_);
    }
    IRuntimeConfig *createRuntimeConfig() noexcept override {
        const fake::Entered entered("createRuntimeConfig", this);
        return refuses(entered) ? nullptr : new Config(logger());
    }
    IExecutionContext *createExecutionContext() noexcept override {
        return createExecutionContext(nullptr);
    }
    IExecutionContext *createExecutionContext(IRuntimeConfig *config) noexcept override {
        const fake::Entered entered("createExecutionContext", this);
        check_context();
        if (refuses(entered)) return nullptr;
        return new ExecutionContext(*this, least_, most_, dynamic_cast<Config *>(config));
    }

  private:
    Shape least_{}, most_{};
};

struct Runtime final : Made, IRuntime {
    explicit Runtime(ILogger &logger) : Made("IRuntime", logger) {}

    ICudaEngine *deserializeCudaEngine(const void *plan, std::size_t size) noexcept override {
        const fake::Entered entered("deserializeCudaEngine", this);
        if (refuses(entered)) return nullptr;
        return new CudaEngine(logger(), {static_cast<const char *>(plan), size});
    }
};

}  // namespace

nvinfer1::IRuntime *nvinfer1::createInferRuntime(ILogger &logger) noexcept {
    const fake::Entered entered("createInferRuntime");
    return entered.refused ? nullptr : new Runtime(logger);
}
