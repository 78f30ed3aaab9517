#include "machine.hpp"

#include <algorithm>
#include <array>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

#include "nvidia_driver.hpp"

#ifdef APDEPTH_WITH_TENSORRT
#include "tensorrt/version.hpp"
#endif

namespace apdepth::detail {
namespace {

// The driver's calls that listing GPUs takes, by the names and values of cuda.h.
class Driver {
  public:
    bool start() const {
        const auto init = driver_call<int(unsigned)>("cuInit");
        return init != nullptr && init(0) == 0;
    }

    int count() const {
        int count = 0;
        const auto get = driver_call<int(int *)>("cuDeviceGetCount");
        return get != nullptr && get(&count) == 0 ? count : 0;
    }

    Gpu gpu(int index) const {
        int device = 0, major = 0, minor = 0;
        std::array<char, 128> name{};
        const auto get = driver_call<int(int *, int)>("cuDeviceGet");
        const auto get_name = driver_call<int(char *, int, int)>("cuDeviceGetName");
        const auto get_attribute = driver_call<int(int *, int, int)>("cuDeviceGetAttribute");
        if (get != nullptr) get(&device, index);
        if (get_name != nullptr) get_name(name.data(), static_cast<int>(name.size()) - 1, device);
        if (get_attribute != nullptr) {
            get_attribute(&major, 75, device);  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
            get_attribute(&minor, 76, device);  // ..._MINOR
        }
        return {name.data(), std::to_string(major) + "." + std::to_string(minor)};
    }
};

std::vector<Gpu> nvidia_gpus() {
    const Driver driver;
    std::vector<Gpu> gpus;
    if (!driver.start()) return gpus;
    for (int index = 0; index < driver.count(); ++index) gpus.push_back(driver.gpu(index));
    return gpus;
}

std::string platform() {
#if defined(__APPLE__)
    const std::string system = "darwin";
#else
    const std::string system = "linux";
#endif
#if defined(__aarch64__)
    return system + "-aarch64";
#else
    return system + "-x86_64";
#endif
}

std::optional<std::string> version_of(const std::string &target) {
#ifdef APDEPTH_WITH_TENSORRT
    if (target == tensorrt::kTarget) return tensorrt::checked_version();
#endif
    static_cast<void>(target);
    return std::nullopt;
}

}  // namespace

int usable_cores() {
#ifdef __linux__
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Machine this_machine(bool asks_driver) {
    return {asks_driver ? nvidia_gpus() : std::vector<Gpu>{}, platform(), version_of};
}

}  // namespace apdepth::detail
