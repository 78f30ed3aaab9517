// PNG, by stb_image, and what it leaves out: checksums, 16 bits, the way up.
#pragma once

#include <string>
#include <string_view>

#include "image.hpp"

// Whether a file begins as a PNG does.
bool is_png(std::string_view bytes);

// Its pixels, upright. Throws Unreadable.
Image read_png(std::string_view bytes);

// A zlib stream's content; nothing where it is damaged.
std::string inflated(std::string_view bytes);

// What raw DEFLATE of that many bytes holds; empty where it is damaged.
std::string inflated_raw(std::string_view bytes, std::size_t size);
