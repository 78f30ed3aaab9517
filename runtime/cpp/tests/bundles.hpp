// A bundle whose depth is known by heart, and copies of it to break.
//
// data/mean_bundle holds a graph that takes one frame of 16x24; its depth is the mean of each
// pixel's channels over 255 (tests/runtime/cpp/test_api.py holds Python to the same).
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int kHeight = 16, kWidth = 24;

inline std::string mean_bundle() { return APDEPTH_TEST_DATA "/mean_bundle"; }

// A copy under the test's own name, gone at its end.
class BrokenBundle {
  public:
    explicit BrokenBundle(const std::string &name)
        : folder_(std::filesystem::temp_directory_path() / ("apdepth-" + name)) {
        std::filesystem::remove_all(folder_);
        std::filesystem::copy(mean_bundle(), folder_, std::filesystem::copy_options::recursive);
    }
    ~BrokenBundle() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    BrokenBundle(const BrokenBundle &) = delete;
    BrokenBundle &operator=(const BrokenBundle &) = delete;

    std::string path() const { return folder_.string(); }
    std::filesystem::path file(const std::string &name) const { return folder_ / name; }

    std::string read(const std::string &name) const {
        std::ifstream in(file(name), std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void write(const std::string &name, const std::string &bytes) const {
        std::ofstream(file(name), std::ios::binary) << bytes;
    }
    // Swap the first `from` of the manifest for `to`.
    void edit(const std::string &from, const std::string &to) const {
        std::string text = read("manifest.json");
        const std::size_t at = text.find(from);
        if (at == std::string::npos) throw std::runtime_error(from + " is not in the manifest");
        write("manifest.json", text.replace(at, from.size(), to));
    }

  private:
    std::filesystem::path folder_;
};

// A frame that no other seed gives, rows `stride` bytes apart with garbage between them.
inline std::vector<std::uint8_t> make_frame(unsigned seed, std::size_t stride = 3 * kWidth) {
    std::vector<std::uint8_t> frame(stride * kHeight);
    for (std::size_t i = 0; i < frame.size(); ++i)
        frame[i] = static_cast<std::uint8_t>((i * 37 + i / 7 + seed * 101) % 256);
    return frame;
}

// Whether `depth` is what the mean bundle gives for `frame`.
inline bool is_mean(const std::vector<float> &depth, const std::vector<std::uint8_t> &frame,
                    std::size_t stride = 3 * kWidth) {
    for (std::size_t y = 0; y < kHeight; ++y)
        for (std::size_t x = 0; x < kWidth; ++x) {
            const std::uint8_t *pixel = frame.data() + y * stride + 3 * x;
            const double mean = (pixel[0] + pixel[1] + pixel[2]) / 3.0 / 255.0;
            if (!(std::abs(depth[y * kWidth + x] - mean) < 1e-5)) return false;
        }
    return true;
}
