// The kernel cache by the C++ library: tests/runtime/cpp compares it with Python's.
//
//   apdepth_cache GPU CAPABILITY DRIVER VERSION SHA256 [KERNELS]
//
// Prints the file's path, and the kernels in it; with KERNELS, writes those first.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tensorrt/cache_file.hpp"

using namespace apdepth::detail;

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    const std::string name =
        tensorrt::cache_name({argv[1], argv[2]}, std::atoi(argv[3]), argv[4], argv[5]);
    const std::string path = cache_folder() + "/" + name;
    if (argc == 7) tensorrt::write_cache(path, argv[6]);
    std::printf("%s\n%s\n", path.c_str(), tensorrt::read_cache(path).c_str());
}
