// What this machine has, asked of the NVIDIA driver itself: no CUDA toolkit is needed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace apdepth::detail {

struct Gpu {
    std::string name;
    std::string compute_capability;  // "8.9"
};

struct Machine {
    std::vector<Gpu> gpus;
    std::string platform;  // operating system and processor: "linux-x86_64"
    // The version of a TensorRT ("tensorrt-rtx" or "tensorrt") in this build; nothing where it
    // isn't. Throws BackendError where it is and can't be used.
    std::function<std::optional<std::string>(const std::string &target)> tensorrt_version;
};

// `asks_driver`: whether GPUs are looked for, which starts NVIDIA's driver in this process.
Machine this_machine(bool asks_driver = true);

// CPU cores that this process may use.
int usable_cores();

}  // namespace apdepth::detail
