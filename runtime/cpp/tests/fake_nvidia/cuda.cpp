// The CUDA driver and runtime of fake.hpp.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "machine.hpp"

using namespace fake;

#define FAKE_ENTER(name, object)                  \
    const Entered entered(name, object);          \
    if (entered.refused) return cudaErrorUnknown; \
    static_cast<void>(0)
#define FAKE_USE(name, handle) \
    FAKE_ENTER(name, handle);  \
    if (!is_usable(handle)) return cudaErrorInvalidResourceHandle

namespace {

constexpr std::size_t kRoom = std::size_t{1} << 30;

cudaError_t allocate(const char *call, void **out, std::size_t bytes, cudaMemoryType type) {
    const Entered entered(call);
    if (entered.refused || posix_memalign(out, 256, std::max<std::size_t>(bytes, 1)) != 0)
        return cudaErrorMemoryAllocation;
    std::memset(*out, 0xCD, bytes);
    machine().memories[reinterpret_cast<std::uintptr_t>(*out)] = {bytes, type, current()->device,
                                                                  true, false};
    return cudaSuccess;
}

cudaError_t release(const char *call, void *memory, cudaMemoryType type) {
    FAKE_ENTER(call, memory);
    const auto found = find_memory(memory);
    if (found == machine().memories.end() || found->second.type != type)
        return cudaErrorInvalidValue;
    if (is_queued(found)) fault("memory is freed while queued work uses it");
    machine().memories.erase(found);
    std::free(memory);
    return cudaSuccess;
}

cudaError_t destroy(const char *call, Handle *handle, const char *kind) {
    FAKE_USE(call, handle);
    handle->is_alive = false;
    --machine().alive[kind];
    return cudaSuccess;
}

}  // namespace

extern "C" {

// The driver, by the names and signatures of cuda.h.
int cuInit(unsigned) {
    FAKE_ENTER("cuInit", nullptr);
    return cudaSuccess;
}

int cuDeviceGet(int *device, int ordinal) {
    FAKE_ENTER("cuDeviceGet", nullptr);
    *device = ordinal;
    return 0 <= ordinal && ordinal < kDevices ? cudaSuccess : cudaErrorInvalidDevice;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    FAKE_ENTER("cuDevicePrimaryCtxRetain", nullptr);
    ++primary(device)->retained;
    *context = primary(device);
    return cudaSuccess;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    FAKE_ENTER("cuDevicePrimaryCtxRelease", nullptr);
    --primary(device)->retained;
    return cudaSuccess;
}

int cuCtxPushCurrent_v2(void *context) {
    FAKE_ENTER("cuCtxPushCurrent", context);
    stack().push_back(static_cast<Context *>(context));
    return cudaSuccess;
}

int cuCtxPopCurrent_v2(void **context) {
    FAKE_ENTER("cuCtxPopCurrent", nullptr);
    if (stack().empty()) return 201;  // CUDA_ERROR_INVALID_CONTEXT
    *context = stack().back();
    stack().pop_back();
    return cudaSuccess;
}

int cuGetErrorString(int, const char **text) {
    *text = "what the driver says";
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
    *device = current_device();
    return cudaSuccess;
}

// Binds the primary context in place of what was current, and starts the runtime there.
cudaError_t cudaSetDevice(int device) {
    FAKE_ENTER("cudaSetDevice", nullptr);
    if (device < 0 || device >= kDevices) return cudaErrorInvalidDevice;
    choose_device(device);
    if (!stack().empty()) stack().pop_back();
    stack().push_back(primary(device));
    primary(device)->is_started = true;
    return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char *cudaGetErrorString(cudaError_t) { return "what the runtime says"; }

cudaError_t cudaDriverGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t *free, std::size_t *total) {
    FAKE_ENTER("cudaMemGetInfo", nullptr);
    *free = *total = kRoom;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, std::size_t bytes) {
    return allocate("cudaMalloc", memory, bytes, cudaMemoryTypeDevice);
}

cudaError_t cudaFree(void *memory) { return release("cudaFree", memory, cudaMemoryTypeDevice); }

cudaError_t cudaMallocHost(void **memory, std::size_t bytes) {
    return allocate("cudaMallocHost", memory, bytes, cudaMemoryTypeHost);
}

cudaError_t cudaFreeHost(void *memory) {
    return release("cudaFreeHost", memory, cudaMemoryTypeHost);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *memory) {
    FAKE_ENTER("cudaPointerGetAttributes", memory);
    const auto found = find_memory(memory);
    *attributes = {};
    if (found == machine().memories.end()) return cudaSuccess;
    const Memory &place = found->second;
    void *address = const_cast<void *>(memory);
    *attributes = {place.type, place.device, place.mapped ? address : nullptr, nullptr};
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *target, const void *source, std::size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
    FAKE_USE("cudaMemcpyAsync", resolve(stream));
    push(stream, {[=] { std::memcpy(target, source, bytes); }, {target, source}});
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    FAKE_ENTER("cudaStreamCreateWithFlags", nullptr);
    *stream = make(machine().streams, "streams");
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    return destroy("cudaStreamDestroy", stream, "streams");
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    FAKE_USE("cudaStreamSynchronize", resolve(stream));
    if (resolve(stream)->is_capturing) return cudaErrorStreamCaptureUnsupported;
    drain(*resolve(stream), resolve(stream)->queued);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    FAKE_USE("cudaStreamWaitEvent", resolve(stream));
    if (event->stream == nullptr) return cudaSuccess;
    push(stream, {[recorded = event->stream, at = event->at] { drain(*recorded, at); }, {}});
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    FAKE_USE("cudaStreamIsCapturing", resolve(stream));
    *status =
        resolve(stream)->is_capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    FAKE_USE("cudaStreamBeginCapture", stream);
    stream->is_capturing = true;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    const Entered entered("cudaStreamEndCapture", stream);
    std::deque<Work> captured = std::exchange(stream->captured, {});
    stream->is_capturing = false;
    *graph = nullptr;
    if (entered.refused) return cudaErrorUnknown;
    *graph = make(machine().graphs, "graphs");
    (*graph)->works = std::move(captured);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    FAKE_ENTER("cudaEventCreateWithFlags", nullptr);
    *event = make(machine().events, "events");
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    return destroy("cudaEventDestroy", event, "events");
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    FAKE_USE("cudaEventRecord", event);
    if (!is_usable(resolve(stream))) return cudaErrorInvalidResourceHandle;
    event->stream = resolve(stream);
    event->at = resolve(stream)->queued;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    FAKE_USE("cudaEventSynchronize", event);
    if (event->stream != nullptr) drain(*event->stream, event->at);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                 unsigned long long) {
    FAKE_USE("cudaGraphInstantiate", graph);
    *executable = make(machine().executables, "executable graphs");
    (*executable)->works = graph->works;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    return destroy("cudaGraphDestroy", graph, "graphs");
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    FAKE_USE("cudaGraphLaunch", executable);
    for (const Work &work : executable->works) {
        if (work.runs && work.changes != work.runs->changes)
            fault("a graph is launched whose execution context was changed since its capture");
        push(stream, work);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    return destroy("cudaGraphExecDestroy", executable, "executable graphs");
}

}  // extern "C"
