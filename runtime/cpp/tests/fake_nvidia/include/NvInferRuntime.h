// What src/tensorrt uses of TensorRT and of TensorRT for RTX, declared as NVIDIA documents it (C++ API
// references of TensorRT 11.1 and TensorRT for RTX 1.6.1): those headers are in no package. Defined
// in fake_nvidia/tensorrt.cpp; the real classes are laid out differently, and have no virtuals.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

namespace nvinfer1 {

struct Dims {
    static constexpr std::int32_t MAX_DIMS = 8;
    std::int32_t nbDims;
    std::int64_t d[MAX_DIMS];
};

struct Dims4 : Dims {
    Dims4(std::int64_t d0, std::int64_t d1, std::int64_t d2, std::int64_t d3)
        : Dims{4, {d0, d1, d2, d3}} {}
};

enum class DataType : std::int32_t { kFLOAT = 0, kHALF = 1, kUINT8 = 5 };
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class OptProfileSelector : std::int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class CudaGraphStrategy : std::int32_t { kDISABLED, kWHOLE_GRAPH_CAPTURE };
enum class DynamicShapesKernelSpecializationStrategy : std::int32_t { kLAZY, kEAGER, kNONE };

class ILogger {
  public:
    enum class Severity : std::int32_t {
        kINTERNAL_ERROR = 0,
        kERROR = 1,
        kWARNING = 2,
        kINFO = 3,
        kVERBOSE = 4
    };
    virtual ~ILogger() = default;
    virtual void log(Severity severity, const char *message) noexcept = 0;
};

class INoCopy {
  protected:
    INoCopy() = default;
    INoCopy(const INoCopy &) = delete;
    INoCopy &operator=(const INoCopy &) = delete;

  public:
    virtual ~INoCopy() = default;
};

class IHostMemory : public INoCopy {
  public:
    virtual void *data() const noexcept = 0;
    virtual std::size_t size() const noexcept = 0;
};

class IRuntimeCache : public INoCopy {
  public:
    virtual IHostMemory *serialize() const noexcept = 0;
    virtual bool deserialize(const void *blob, std::size_t size) noexcept = 0;
};

class IRuntimeConfig : public INoCopy {
  public:
    virtual IRuntimeCache *createRuntimeCache() const noexcept = 0;
    virtual bool setRuntimeCache(const IRuntimeCache &cache) noexcept = 0;
    virtual void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept = 0;
    virtual bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept = 0;
};

class IExecutionContext : public INoCopy {
  public:
    virtual bool setInputShape(const char *name, const Dims &shape) noexcept = 0;
    virtual Dims getTensorShape(const char *name) const noexcept = 0;
    virtual bool setTensorAddress(const char *name, void *address) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine : public INoCopy {
  public:
    virtual std::int32_t getNbIOTensors() const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(const char *name) const noexcept = 0;
    virtual DataType getTensorDataType(const char *name) const noexcept = 0;
    virtual Dims getTensorShape(const char *name) const noexcept = 0;
    virtual Dims getProfileShape(const char *name, std::int32_t profile,
                                 OptProfileSelector select) const noexcept = 0;
    virtual IRuntimeConfig *createRuntimeConfig() noexcept = 0;
    virtual IExecutionContext *createExecutionContext() noexcept = 0;
    virtual IExecutionContext *createExecutionContext(IRuntimeConfig *config) noexcept = 0;
};

class IRuntime : public INoCopy {
  public:
    virtual ICudaEngine *deserializeCudaEngine(const void *plan, std::size_t size) noexcept = 0;
};

IRuntime *createInferRuntime(ILogger &logger) noexcept;

}  // namespace nvinfer1
