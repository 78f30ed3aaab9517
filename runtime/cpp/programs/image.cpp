#include "image.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_PNM
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include <stb_image.h>

Image read_image(const std::string &path) {
    int width = 0, height = 0, channels = 0;
    const std::unique_ptr<stbi_uc, void (*)(void *)> pixels(
        stbi_load(path.c_str(), &width, &height, &channels, 3), stbi_image_free);
    if (!pixels)
        throw std::runtime_error(path + ": not a PNG, PPM or PGM that can be read (" +
                                 stbi_failure_reason() + ")");
    const std::size_t size = 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    return {{pixels.get(), pixels.get() + size}, height, width};
}

void write_pgm(const std::string &path, const std::vector<float> &depth, int height, int width) {
    std::string bytes = "P5\n" + std::to_string(width) + " " + std::to_string(height) + "\n65535\n";
    for (const float value : depth) {
        const auto level =
            static_cast<unsigned>(std::lround(std::clamp(value, 0.0f, 1.0f) * 65535.0));
        bytes += static_cast<char>(level >> 8);
        bytes += static_cast<char>(level & 255);
    }
    const std::string temporary = path + ".part";
    std::FILE *file = std::fopen(temporary.c_str(), "wb");
    bool written = file != nullptr;
    if (written) written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (file != nullptr) written = std::fclose(file) == 0 && written;
    if (written) written = std::rename(temporary.c_str(), path.c_str()) == 0;
    if (written) return;
    std::remove(temporary.c_str());
    throw std::runtime_error("can't write " + path + ". What stood there before is untouched");
}
