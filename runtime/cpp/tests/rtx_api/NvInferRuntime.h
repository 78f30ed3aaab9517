// What rtx.cpp uses of TensorRT for RTX, declared as NVIDIA documents it (TensorRT for RTX 1.6.1, C++
// API reference): those headers are in no package. For compiling alone: nothing here can be linked,
// and the real classes are laid out differently.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nvinfer1 {

class INoCopy {
  protected:
    INoCopy() = default;
    virtual ~INoCopy() = default;
    INoCopy(const INoCopy &) = delete;
    INoCopy &operator=(const INoCopy &) = delete;
};

class IHostMemory : public INoCopy {
  public:
    virtual ~IHostMemory() noexcept = default;
    void *data() const noexcept;
    std::size_t size() const noexcept;
};

class IRuntimeCache : public INoCopy {
  public:
    virtual ~IRuntimeCache() noexcept = 0;
    IHostMemory *serialize() const noexcept;
    bool deserialize(const void *blob, std::size_t size) noexcept;
};

enum class CudaGraphStrategy : std::int32_t { kDISABLED, kWHOLE_GRAPH_CAPTURE };

enum class DynamicShapesKernelSpecializationStrategy : std::int32_t { kLAZY, kEAGER, kNONE };

class IRuntimeConfig : public INoCopy {
  public:
    virtual ~IRuntimeConfig() noexcept = default;
    IRuntimeCache *createRuntimeCache() const noexcept;
    bool setRuntimeCache(const IRuntimeCache &cache) noexcept;
    void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept;
    bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept;
};

class IExecutionContext : public INoCopy {
  public:
    virtual ~IExecutionContext() noexcept = default;
};

class ICudaEngine : public INoCopy {
  public:
    virtual ~ICudaEngine() noexcept = default;
    IRuntimeConfig *createRuntimeConfig() noexcept;
    IExecutionContext *createExecutionContext(IRuntimeConfig *config) noexcept;
};

}  // namespace nvinfer1
