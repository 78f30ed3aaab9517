// Pictures in, depth out, as files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// uint8 RGB [height][width][3] without gaps.
struct Image {
    std::vector<std::uint8_t> rgb;
    int height, width;
};

// A PNG, PPM or PGM. Throws std::runtime_error.
Image read_image(const std::string &path);

// depth [height][width] in 0..1 as a 16-bit PGM, round(depth x 65535): whole or not at all. Throws
// std::runtime_error.
void write_pgm(const std::string &path, const std::vector<float> &depth, int height, int width);
