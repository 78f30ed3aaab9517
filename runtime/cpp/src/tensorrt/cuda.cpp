#include "cuda.hpp"

#include "../error.hpp"

namespace apdepth::detail::tensorrt {
namespace {

std::string megabytes(std::size_t bytes) { return std::to_string((bytes + 500000) / 1000000); }

int current_device() {
    int ordinal = 0;
    cudaGetDevice(&ordinal);
    return ordinal;
}

BackendError no_room(const char *kind, std::size_t bytes) {
    const std::string hint = memory_hint(current_device());
    return BackendError("no room for " + megabytes(bytes) + " MB of " + kind + " memory: " + hint);
}

}  // namespace

void check(cudaError_t code, const char *call) {
    if (code == cudaSuccess) return;
    cudaGetLastError();  // or the next call would report it again
    const std::string name = std::string(call).substr(0, std::string(call).find('('));
    throw BackendError("cuda:" + std::to_string(current_device()) + ": " + name + " failed: " +
                       cudaGetErrorString(code) + " (CUDA error " + std::to_string(code) + ")");
}

OnDevice::OnDevice(int ordinal) {
    APDEPTH_CUDA(cudaGetDevice(&before_));
    if (ordinal != before_) APDEPTH_CUDA(cudaSetDevice(ordinal));
}

OnDevice::~OnDevice() { cudaSetDevice(before_); }

Stream make_stream() {
    cudaStream_t stream = nullptr;
    APDEPTH_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return Stream(stream);
}

Event make_event() {
    cudaEvent_t event = nullptr;
    APDEPTH_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    return Event(event);
}

DeviceMemory allocate(std::size_t bytes) {
    void *memory = nullptr;
    const cudaError_t code = cudaMalloc(&memory, bytes);
    if (code == cudaErrorMemoryAllocation) throw no_room("device", bytes);
    check(code, "cudaMalloc");
    return DeviceMemory(memory);
}

PinnedMemory allocate_pinned(std::size_t bytes) {
    void *memory = nullptr;
    const cudaError_t code = cudaMallocHost(&memory, bytes);
    if (code == cudaErrorMemoryAllocation) throw no_room("pinned host", bytes);
    check(code, "cudaMallocHost");
    return PinnedMemory(memory);
}

int device_of(const void *memory) {
    cudaPointerAttributes attributes{};
    if (cudaPointerGetAttributes(&attributes, memory) != cudaSuccess) {
        cudaGetLastError();
        return -1;
    }
    const bool there =
        attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
    return there ? attributes.device : -1;
}

bool is_capturing(cudaStream_t stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    APDEPTH_CUDA(cudaStreamIsCapturing(stream, &status));
    return status != cudaStreamCaptureStatusNone;
}

std::string memory_hint(int ordinal) {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    const std::string label = "cuda:" + std::to_string(ordinal);
    return megabytes(free) + " of " + megabytes(total) + " MB are free on " + label +
           ": end other programs there, use fewer threads (each has its own buffers), or a smaller "
           "frame";
}

}  // namespace apdepth::detail::tensorrt
