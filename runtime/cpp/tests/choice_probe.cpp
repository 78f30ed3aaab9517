// What the choice of an engine says on a machine that is made up: tests/runtime/cpp compares it
// with Python's.
//
//   apdepth_choice BUNDLE VERSION PRECISION|any ORDINAL [GPU CAPABILITY]
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "bundle.hpp"
#include "choice.hpp"

using namespace apdepth::detail;

int main(int argc, char **argv) {
    if (argc != 5 && argc != 7) return 2;
    const std::string version = argv[2], precision = argv[3];
    Machine machine{
        {}, "linux-x86_64", [&](const std::string &) { return std::optional(version); }};
    if (argc == 7) machine.gpus.push_back({argv[5], argv[6]});
    const auto asked = precision == "any" ? std::nullopt : std::optional(precision);
    try {
        const Choice choice = choose_engine(Bundle::open(argv[1]), "tensorrt-rtx", asked,
                                            std::atoi(argv[4]), machine);
        std::printf("chosen: %s\n", choice.engine.precision.c_str());
    } catch (const Error &error) {
        std::printf("%s\n", error.what());
    }
}
