// Pictures in, depth out, as files.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

// uint8 RGB [height][width][3] without gaps.
struct Image {
    std::vector<std::uint8_t> rgb;
    int height, width;
};

// What is wrong with a picture, without its name.
struct Unreadable : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A PNG, or a binary PPM or PGM, of the pixels that apdepth_deploy/pictures/image.py finds in it: upright,
// without alpha, of 16 bits the share of 65535. Throws std::runtime_error for others.
Image read_image(const std::string &path);

// Throws std::runtime_error unless `path` is named as what write_pgm writes.
void check_pgm(const std::string &path);

// depth [height][width] in 0..1 as a 16-bit PGM, round(depth x 65535): whole or not at all. Throws
// std::runtime_error.
void write_pgm(const std::string &path, const std::vector<float> &depth, int height, int width);
