// CUDA: as much of it as running an engine takes, checked and freed.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>

#include <cuda_runtime_api.h>

namespace apdepth::detail::tensorrt {

// Throws BackendError for a call that failed.
void check(cudaError_t code, const char *call);

#define APDEPTH_CUDA(call) ::apdepth::detail::tensorrt::check((call), #call)

// One GPU by its ordinal, with the context that the CUDA runtime uses there (the primary one).
class Device {
  public:
    // Throws BackendError where the driver is missing or refuses.
    explicit Device(int ordinal);
    ~Device();
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;

    const int ordinal;

  private:
    friend class OnDevice;
    int handle_ = 0;
    void *context_ = nullptr;
};

// Makes a device the calling thread's. The context that the caller had, if any, is beneath it and
// comes back at the end: cudaSetDevice would lose it, and start the runtime on other GPUs.
class OnDevice {
  public:
    explicit OnDevice(const Device &device);
    ~OnDevice();
    OnDevice(const OnDevice &) = delete;
    OnDevice &operator=(const OnDevice &) = delete;
};

// A handle of CUDA's, freed once. A device must be current where one is made.
template <class Handle, cudaError_t (*destroy)(Handle)>
struct Destroy {
    using pointer = Handle;
    void operator()(Handle handle) const noexcept { destroy(handle); }
};

template <class Handle, cudaError_t (*destroy)(Handle)>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy<Handle, destroy>>;

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;
using DeviceMemory = Owned<void *, cudaFree>;
using PinnedMemory = Owned<void *, cudaFreeHost>;

Stream make_stream();  // not ordered with CUDA's default stream
Event make_event();
DeviceMemory allocate(std::size_t bytes);
PinnedMemory allocate_pinned(std::size_t bytes);

// Ordinal of the GPU whose own memory this is; -1 for other memory.
int device_of(const void *memory);

// Where the current device finds memory: its own, managed, or the host's where that is pinned and
// mapped; nullptr for other memory.
void *reach(const void *memory);

bool is_capturing(cudaStream_t stream);

// "1234 of 8192 MB are free on cuda:0: ...": what is free, and what to do about it.
std::string memory_hint(int ordinal);

}  // namespace apdepth::detail::tensorrt
