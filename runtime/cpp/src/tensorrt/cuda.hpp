// The CUDA runtime: as much of it as running an engine takes, checked and freed.
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

// Makes a device the calling thread's; what the caller had comes back at the end.
class OnDevice {
  public:
    explicit OnDevice(int ordinal);
    ~OnDevice();
    OnDevice(const OnDevice &) = delete;
    OnDevice &operator=(const OnDevice &) = delete;

  private:
    int before_ = 0;
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

// Ordinal of the device that memory lies on; -1 where CUDA doesn't know it.
int device_of(const void *memory);

bool is_capturing(cudaStream_t stream);

// "1234 of 8192 MB are free on cuda:0: ...": what is free, and what to do about it.
std::string memory_hint(int ordinal);

}  // namespace apdepth::detail::tensorrt
