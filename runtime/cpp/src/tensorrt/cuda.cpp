#include "cuda.hpp"

#include "../error.hpp"
#include "../nvidia_driver.hpp"

namespace apdepth::detail::tensorrt {
namespace {

std::string megabytes(std::size_t bytes) { return std::to_string((bytes + 500000) / 1000000); }

int current_device() {
    int ordinal = 0;
    cudaGetDevice(&ordinal);
    return ordinal;
}

// What the CUDA runtime can't do without changing the caller's context, by the signatures of cuda.h.
struct Driver {
    int (*init)(unsigned) = driver_call<int(unsigned)>("cuInit");
    int (*get)(int *, int) = driver_call<int(int *, int)>("cuDeviceGet");
    int (*retain)(void **, int) = driver_call<int(void **, int)>("cuDevicePrimaryCtxRetain");
    int (*release)(int) = driver_call<int(int)>("cuDevicePrimaryCtxRelease_v2");
    int (*push)(void *) = driver_call<int(void *)>("cuCtxPushCurrent_v2");
    int (*pop)(void **) = driver_call<int(void **)>("cuCtxPopCurrent_v2");
    int (*describe)(int, const char **) = driver_call<int(int, const char **)>("cuGetErrorString");

    bool is_there() const { return init && get && retain && release && push && pop && describe; }
};

const Driver &driver() {
    static const Driver found;
    if (!found.is_there())
        throw BackendError(
            "the NVIDIA driver can't be loaded: `apdepth-deploy doctor` shows what is there");
    return found;
}

void check_driver(int code, const char *name, int ordinal) {
    if (code == 0) return;
    const char *reason = nullptr;
    driver().describe(code, &reason);
    throw BackendError("cuda:" + std::to_string(ordinal) + ": " + name +
                       " failed: " + (reason == nullptr ? "unknown error" : reason) +
                       " (CUDA error " + std::to_string(code) + ")");
}

cudaPointerAttributes attributes_of(const void *memory) {
    cudaPointerAttributes attributes{};
    if (cudaPointerGetAttributes(&attributes, memory) == cudaSuccess) return attributes;
    cudaGetLastError();
    return {};  // cudaMemoryTypeUnregistered
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

Device::Device(int index) : ordinal(index) {
    check_driver(driver().init(0), "cuInit", ordinal);
    check_driver(driver().get(&handle_, ordinal), "cuDeviceGet", ordinal);
    check_driver(driver().retain(&context_, handle_), "cuDevicePrimaryCtxRetain", ordinal);
}

Device::~Device() { driver().release(handle_); }

OnDevice::OnDevice(const Device &device) {
    check_driver(driver().push(device.context_), "cuCtxPushCurrent", device.ordinal);
}

OnDevice::~OnDevice() {
    void *popped = nullptr;
    driver().pop(&popped);
}

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
    const cudaPointerAttributes attributes = attributes_of(memory);
    return attributes.type == cudaMemoryTypeDevice ? attributes.device : -1;
}

void *reach(const void *memory) {
    const cudaPointerAttributes attributes = attributes_of(memory);
    if (attributes.type == cudaMemoryTypeUnregistered) return nullptr;
    const int owner = device_of(memory);
    return owner < 0 || owner == current_device() ? attributes.devicePointer : nullptr;
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
