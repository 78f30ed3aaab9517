#include "nvidia_driver.hpp"

#include <dlfcn.h>

namespace apdepth::detail {

void *driver_symbol(const char *name) {
    // Stays loaded: the driver doesn't survive being closed and opened again.
    static void *const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return library == nullptr ? nullptr : dlsym(library, name);
}

}  // namespace apdepth::detail
