// Engines on the machine of fake_nvidia, and programs that use them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "check.hpp"
#include "error.hpp"
#include "fake_nvidia/fake.hpp"
#include "tensorrt/runner.hpp"

#ifdef TRT_MAJOR_RTX
constexpr bool kRtx = true;
#else
constexpr bool kRtx = false;
#endif

using apdepth::detail::Runner;
using Pixels = std::vector<std::uint8_t>;

struct Size {
    int height, width;

    std::size_t pixels() const {
        return static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    }
};

// A folder of this process's own.
inline std::filesystem::path scratch() {
    return std::filesystem::temp_directory_path() / ("apdepth-" + std::to_string(getpid()));
}

// An engine for batch, height and width from .. to; its runtime cache goes into scratch().
inline std::unique_ptr<Runner> open_engine(const std::array<int, 6> &ends = {1, 2, 8, 64, 8, 64},
                                           int ordinal = 0) {
    const std::string plan = "engines/fused.fp16.engine";
    std::filesystem::create_directories(scratch() / "engines");
    std::ofstream out(scratch() / plan);
    for (const int end : ends) out << end << " ";
    out.close();
    setenv("XDG_CACHE_HOME", scratch().c_str(), 1);
    apdepth::detail::Bundle bundle;
    bundle.folder = scratch().string();
    bundle.hashes[plan] = std::string(64, '0');
    apdepth::detail::Choice choice{};
    choice.engine.file = plan;
    choice.engine.frame = {
        {ends[0], ends[0], ends[1]}, {ends[2], ends[2], ends[3]}, {ends[4], ends[4], ends[5]}};
    choice.ordinal = ordinal;
    choice.mend = "build it again";
    return apdepth::detail::tensorrt::make_runner(bundle, choice);
}

// A frame that no other seed gives, with `gap` bytes of garbage after each row.
inline Pixels make_frame(Size size, unsigned seed, std::size_t gap = 0) {
    Pixels pixels((3 * static_cast<std::size_t>(size.width) + gap) *
                  static_cast<std::size_t>(size.height));
    for (std::size_t i = 0; i < pixels.size(); ++i)
        pixels[i] = static_cast<std::uint8_t>((i * 37 + i / 7 + seed * 101) % 256);
    return pixels;
}

// Whether `depth` is the mean of each pixel's channels over 255.
inline bool is_mean(const float *depth, Size size, const Pixels &pixels, std::size_t gap = 0) {
    const auto width = static_cast<std::size_t>(size.width);
    for (std::size_t i = 0; i < size.pixels(); ++i) {
        const std::uint8_t *rgb = &pixels[i / width * (3 * width + gap) + i % width * 3];
        if (!(std::abs(depth[i] - (rgb[0] + rgb[1] + rgb[2]) / 765.0) < 1e-6)) return false;
    }
    return true;
}

// One frame in host memory; whether its depth is right.
inline bool infers(Runner &runner, Size size, unsigned seed = 0, std::size_t gap = 0) {
    const Pixels pixels = make_frame(size, seed, gap);
    std::vector<float> depth(size.pixels(), NAN);
    const std::size_t stride = 3 * static_cast<std::size_t>(size.width) + gap;
    runner.infer({pixels.data(), size.height, size.width, stride}, depth.data());
    return is_mean(depth.data(), size, pixels, gap);
}

// The calling thread's context, as the rest of the program has it.
class Current {
  public:
    explicit Current(fake::Context *context) { fake::stack().push_back(context); }
    ~Current() { fake::stack().pop_back(); }
    Current(const Current &) = delete;
    Current &operator=(const Current &) = delete;
};

// A part of the program that keeps its frames in memory of a GPU's, and has a stream there.
class Camera {
  public:
    explicit Camera(Size given, int gpu = 0, cudaMemoryType type = cudaMemoryTypeDevice,
                    bool mapped = true, std::size_t offset = 0)
        : size(given), device(gpu) {
        const std::size_t count = size.pixels();
        auto *image =
            static_cast<std::uint8_t *>(fake::memory(3 * count + offset, type, device, mapped));
        auto *result =
            static_cast<std::uint8_t *>(fake::memory(4 * count + offset, type, device, mapped));
        rgb = image + offset;
        depth = reinterpret_cast<float *>(result + offset);
        const Current on(fake::primary(device));
        CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    }
    ~Camera() {
        const Current on(fake::primary(device));
        cudaStreamDestroy(stream);
    }
    Camera(const Camera &) = delete;
    Camera &operator=(const Camera &) = delete;

    void enqueue(Runner &runner, unsigned seed) {
        pixels = make_frame(size, seed);
        std::copy(pixels.begin(), pixels.end(), rgb);
        std::fill_n(depth, size.pixels(), NAN);
        runner.infer_async({rgb, 1, size.height, size.width, depth, stream});
    }
    void wait() const {
        const Current on(fake::primary(device));
        CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    }
    bool is_right() const { return is_mean(depth, size, pixels); }
    bool gets_right(Runner &runner, unsigned seed) {
        enqueue(runner, seed);
        wait();
        return is_right();
    }

    const Size size;
    const int device;
    std::uint8_t *rgb;
    float *depth;
    cudaStream_t stream = nullptr;
    Pixels pixels;
};

// The message of a call that fails; empty where it doesn't.
inline std::string failure(const std::function<void()> &call) {
    try {
        call();
    } catch (const apdepth::detail::Error &error) {
        return error.what();
    }
    return "";
}

// Runs a test on a new machine. It leaves nothing behind, nor does what NVIDIA calls undefined.
inline void on_new_machine(const std::function<void()> &test) {
    test();
    for (const std::string &fault : fake::faults()) std::fprintf(stderr, "%s\n", fault.c_str());
    for (const std::string &left : fake::alive())
        std::fprintf(stderr, "not freed: %s\n", left.c_str());
    CHECK(fake::faults().empty() && fake::alive().empty());
    std::filesystem::remove_all(scratch());
    fake::reset();
}
