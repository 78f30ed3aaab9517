// Functions of the NVIDIA driver's library, found by name: no CUDA toolkit is needed, and a machine
// without a GPU has none of them.
#pragma once

namespace apdepth::detail {

// nullptr where there is no driver. The name is the library's own, such as "cuCtxPushCurrent_v2":
// cuda.h gives it by a macro.
void *driver_symbol(const char *name);

template <class Call>
Call *driver_call(const char *name) {
    return reinterpret_cast<Call *>(driver_symbol(name));
}

}  // namespace apdepth::detail
