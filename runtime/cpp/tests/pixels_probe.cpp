// Pictures as the programs read them: tests/runtime/cpp compares them with Python's.
//
//   apdepth_pixels PICTURE...
//
// Writes the pixels beside each, as PICTURE.rgb (height and width in a line, then uint8 RGB), or
// prints why it isn't read.
#include <cstdio>
#include <fstream>

#include "image.hpp"

namespace {

void write_pixels(const std::string &path) {
    const Image image = read_image(path);
    std::ofstream file(path + ".rgb", std::ios::binary);
    file << image.height << ' ' << image.width << '\n';
    file.write(reinterpret_cast<const char *>(image.rgb.data()),
               static_cast<std::streamsize>(image.rgb.size()));
}

}  // namespace

int main(int argc, char **argv) {
    for (int i = 1; i < argc; ++i) {
        try {
            write_pixels(argv[i]);
        } catch (const std::exception &error) {
            std::printf("%s\n", error.what());
        }
    }
}
