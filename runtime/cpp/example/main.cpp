// The nearest and the farthest point of a grey frame: what an embedder writes, and all of it.
#include <algorithm>
#include <cstdio>

#include <apdepth.hpp>

int main(int argc, char **argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: apdepth_example BUNDLE\n");
        return 2;
    }
    try {
        const apdepth::Predictor predictor(argv[1]);
        const apdepth_model_info info = predictor.info();
        const int height = info.height.opt, width = info.width.opt;
        const std::vector<std::uint8_t> rgb(static_cast<std::size_t>(3 * height * width), 128);
        const std::vector<float> depth = predictor({rgb.data(), height, width});
        const auto [near, far] = std::minmax_element(depth.begin(), depth.end());
        std::printf("%s: depth of %dx%d from %.3f to %.3f\n", info.reason, width, height, *near,
                    *far);
    } catch (const apdepth::Error &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 2;
    }
}
