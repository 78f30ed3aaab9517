// Depth of one picture, from the command line.
#include <cstdio>

#include "apdepth.hpp"
#include "arguments.hpp"
#include "image.hpp"
#include "self_test.hpp"

namespace {

constexpr const char *kUsage =
    "usage: apdepth_run BUNDLE IMAGE -o DEPTH.pgm [--backend openvino|tensorrt-rtx|tensorrt]\n"
    "                   [--precision fp32|fp16|bf16] [--device cpu|cuda|cuda:N]\n"
    "       apdepth_run BUNDLE --self-test [the same options]\n"
    "IMAGE is a PNG, PPM or PGM of the size that the bundle was exported for.\n"
    "DEPTH.pgm receives 16 bits: round(depth x 65535), 0 near .. 65535 far.\n"
    "--self-test compares depth on this machine with PyTorch's of the bundle's golden frames: "
    "exit\n"
    "code 0 where it keeps to the thresholds of its precision, 1 where it strays.\n";

void test(const Arguments &arguments) {
    if (arguments.words.size() != 1 || arguments.get("-o") != nullptr)
        throw WrongUse("--self-test takes a bundle alone");
    const std::string &bundle = arguments.words[0];
    const apdepth::Predictor predictor(bundle, arguments.open_options());
    self_test(bundle, predictor);
    std::fprintf(stderr, "%s\n", predictor.info().reason);
}

void run(int argc, char **argv) {
    const Arguments arguments(argc, argv, {"-o", "--backend", "--precision", "--device"},
                              {"--self-test"});
    if (arguments.get("--self-test") != nullptr) {
        test(arguments);
        return;
    }
    const char *output = arguments.get("-o");
    if (arguments.words.size() != 2 || output == nullptr)
        throw WrongUse("a bundle, an image and -o are needed");
    check_pgm(output);
    const Image image = read_image(arguments.words[1]);
    const apdepth::Predictor predictor(arguments.words[0], arguments.open_options());
    const apdepth_model_info info = predictor.info();
    if (info.random_weights != 0)
        std::fprintf(stderr, "warning: random weights: this depth means nothing\n");
    if (info.warning != nullptr) std::fprintf(stderr, "warning: %s\n", info.warning);
    const std::vector<float> depth = predictor({image.rgb.data(), image.height, image.width});
    write_pgm(output, depth, image.height, image.width);
    std::fprintf(stderr, "%s\n", info.reason);
}

}  // namespace

int main(int argc, char **argv) {
    return run_program(kUsage, [&] { run(argc, argv); });
}
