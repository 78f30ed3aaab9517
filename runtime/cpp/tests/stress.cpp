// Many frames, and handles opened anew: memory must not grow.
//
//   apdepth_stress BUNDLE FRAMES
//
// Prints how far resident memory rose after warming up, in bytes.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include "apdepth.hpp"

namespace {

constexpr int kWarmUp = 50, kOpenings = 5;

long resident_bytes() {
    std::ifstream file("/proc/self/statm");
    long all = 0, resident = 0;
    file >> all >> resident;
    return resident * sysconf(_SC_PAGESIZE);
}

class Frames {
  public:
    explicit Frames(const apdepth::Predictor &predictor) : predictor_(predictor) {
        const apdepth_model_info info = predictor.info();
        height_ = info.height.opt, width_ = info.width.opt;
        stride_ = 3 * static_cast<std::size_t>(width_) + 1;
        rgb_.resize(stride_ * static_cast<std::size_t>(height_));
        depth_.resize(static_cast<std::size_t>(height_) * static_cast<std::size_t>(width_));
    }

    void run(int frames) {
        for (int i = 0; i < frames; ++i) {
            rgb_[static_cast<std::size_t>(i) % rgb_.size()] += 31;
            const std::size_t stride = i % 2 == 0 ? stride_ : stride_ - 1;
            predictor_.infer({rgb_.data(), height_, width_, stride}, depth_);
        }
    }

  private:
    const apdepth::Predictor &predictor_;
    int height_, width_;
    std::size_t stride_;
    std::vector<std::uint8_t> rgb_;
    std::vector<float> depth_;
};

void refused_calls(const apdepth::Predictor &predictor, int calls) {
    for (int i = 0; i < calls; ++i) {
        try {
            predictor({nullptr, 1, 1});
        } catch (const apdepth::Error &) {
        }
    }
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: apdepth_stress BUNDLE FRAMES\n");
        return 2;
    }
    const apdepth::Predictor predictor(argv[1]);
    const int frames = std::atoi(argv[2]);
    Frames work(predictor);
    work.run(kWarmUp);
    for (int i = 0; i < kOpenings; ++i) apdepth::Predictor(std::string(argv[1]));
    const long before = resident_bytes();
    work.run(frames);
    refused_calls(predictor, frames);
    for (int i = 0; i < frames / 2000; ++i) apdepth::Predictor(std::string(argv[1]));
    std::printf("%ld\n", resident_bytes() - before);
}
