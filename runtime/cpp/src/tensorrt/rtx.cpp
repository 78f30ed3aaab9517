#include "rtx.hpp"

#include <mutex>
#include <utility>

#include <NvInferRuntime.h>

#include "cache_file.hpp"

namespace apdepth::detail::tensorrt {

struct RtxContexts::Parts {
    nvinfer1::ICudaEngine &engine;
    std::string path;
    std::string saved;
    std::mutex mutex;
    std::unique_ptr<nvinfer1::IRuntimeCache> cache;
    std::unique_ptr<nvinfer1::IRuntimeConfig> config;  // refers to the cache: destroyed first
};

RtxContexts::RtxContexts(nvinfer1::ICudaEngine &engine, std::string cache_path)
    : parts_(new Parts{engine, std::move(cache_path), {}, {}, {}, {}}) {
    Parts &parts = *parts_;
    parts.config.reset(engine.createRuntimeConfig());
    if (!parts.config) return;
    parts.config->setCudaGraphStrategy(nvinfer1::CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE);
    parts.config->setDynamicShapesKernelSpecializationStrategy(
        nvinfer1::DynamicShapesKernelSpecializationStrategy::kEAGER);
    parts.cache.reset(parts.config->createRuntimeCache());
    if (!parts.cache) return;
    const std::string kernels = parts.path.empty() ? "" : read_cache(parts.path);
    if (!kernels.empty() && parts.cache->deserialize(kernels.data(), kernels.size()))
        parts.saved = kernels;
    parts.config->setRuntimeCache(*parts.cache);
}

RtxContexts::~RtxContexts() = default;

nvinfer1::IExecutionContext *RtxContexts::make() {
    return parts_->config ? parts_->engine.createExecutionContext(parts_->config.get()) : nullptr;
}

void RtxContexts::save() {
    Parts &parts = *parts_;
    if (!parts.cache || parts.path.empty()) return;
    const std::lock_guard<std::mutex> lock(parts.mutex);
    const std::unique_ptr<nvinfer1::IHostMemory> blob(parts.cache->serialize());
    if (!blob || blob->size() == 0) return;
    std::string kernels(static_cast<const char *>(blob->data()), blob->size());
    if (kernels == parts.saved) return;
    write_cache(parts.path, kernels);
    parts.saved = std::move(kernels);
}

}  // namespace apdepth::detail::tensorrt
