#include "pixels.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "boundary.hpp"
#include "error.hpp"
#include "runner.hpp"

namespace apdepth::detail {
namespace {

// Below this a frame holds no more than two latents across: nothing to see depth in.
constexpr int kMinSide = 16;

constexpr const char *kNames[] = {"rgb", "bgr", "rgba", "bgra", "grey", "nv12", "yuyv", "uyvy"};

int bytes_of_pixel(apdepth_format format) {
    switch (format) {
        case APDEPTH_RGB:
        case APDEPTH_BGR: return 3;
        case APDEPTH_RGBA:
        case APDEPTH_BGRA: return 4;
        case APDEPTH_GREY:
        case APDEPTH_NV12: return 1;
        case APDEPTH_YUYV:
        case APDEPTH_UYVY: return 2;
    }
    return 0;
}

std::ptrdiff_t row_bytes(const apdepth_image &image) {
    return std::ptrdiff_t{bytes_of_pixel(image.format)} * image.width;
}

std::ptrdiff_t chroma_stride_of(const apdepth_image &image) {
    return image.chroma_stride == 0 ? stride_of(image) : image.chroma_stride;
}

std::string size_text(const apdepth_image &image) {
    return std::to_string(image.width) + "x" + std::to_string(image.height);
}

void check_pairs(const apdepth_image &image) {
    const std::string name = kNames[image.format];
    if (image.format == APDEPTH_NV12 && (image.width % 2 != 0 || image.height % 2 != 0))
        throw ImageError(name + " holds pixels in fours: its size can't be " + size_text(image));
    const bool is_pairs = image.format == APDEPTH_YUYV || image.format == APDEPTH_UYVY;
    if (is_pairs && image.width % 2 != 0)
        throw ImageError(name + " holds pixels in pairs: its width can't be " +
                         std::to_string(image.width));
}

void check_rows(const apdepth_image &image, std::ptrdiff_t stride) {
    constexpr auto most = std::numeric_limits<std::ptrdiff_t>::max();
    if (stride < -most / image.height || stride > most / image.height)
        throw ImageError("a stride of " + std::to_string(stride) + " bytes leads out of memory");
    if (std::abs(stride) < row_bytes(image))
        throw ImageError("a stride of " + std::to_string(stride) + " bytes is less than a row of " +
                         std::to_string(image.width) + " " + kNames[image.format] +
                         " pixels: it must be " + std::to_string(row_bytes(image)) +
                         " or more, or as much upwards");
}

template <int kBytes, int kRed, int kGreen, int kBlue>
void pick(const std::uint8_t *row, int width, std::uint8_t *rgb) {
    for (int x = 0; x < width; ++x) {
        rgb[3 * x] = row[kBytes * x + kRed];
        rgb[3 * x + 1] = row[kBytes * x + kGreen];
        rgb[3 * x + 2] = row[kBytes * x + kBlue];
    }
}

std::uint8_t clipped(int value) { return static_cast<std::uint8_t>(std::clamp(value, 0, 255)); }

// BT.601 with limited range (ITU-R BT.601-7, 2.5.3) in steps of 1/256. Right shifts of negative
// numbers round down on every compiler that this is built with.
void put(int y, int u, int v, std::uint8_t *rgb) {
    const int luma = 298 * (y - 16) + 128;
    rgb[0] = clipped((luma + 409 * (v - 128)) >> 8);
    rgb[1] = clipped((luma - 100 * (u - 128) - 208 * (v - 128)) >> 8);
    rgb[2] = clipped((luma + 516 * (u - 128)) >> 8);
}

// Two pixels in four bytes; chroma is taken as it lies.
template <int kY, int kU, int kNext, int kV>
void pairs(const std::uint8_t *row, int width, std::uint8_t *rgb) {
    for (int x = 0; x < width; x += 2, row += 4, rgb += 6) {
        put(row[kY], row[kU], row[kV], rgb);
        put(row[kNext], row[kU], row[kV], rgb + 3);
    }
}

void nv12(const std::uint8_t *luma, const std::uint8_t *chroma, int width, std::uint8_t *rgb) {
    for (int x = 0; x < width; x += 2, chroma += 2)
        for (int k = 0; k < 2; ++k) put(luma[x + k], chroma[0], chroma[1], rgb + 3 * (x + k));
}

const std::uint8_t *chroma_row(const apdepth_image &image, int y) {
    const std::uint8_t *plane =
        image.chroma != nullptr ? image.chroma : image.data + stride_of(image) * image.height;
    return plane + chroma_stride_of(image) * (y / 2);
}

}  // namespace

std::ptrdiff_t stride_of(const apdepth_image &image) {
    return image.stride == 0 ? row_bytes(image) : image.stride;
}

void check_image(const apdepth_image &image) {
    require(image.data, "data");
    if (bytes_of_pixel(image.format) == 0)
        throw UsageError("unknown format " + std::to_string(image.format) +
                         ": choose one of apdepth_format");
    if (std::min(image.height, image.width) < kMinSide)
        throw ImageError(size_text(image) + " pixels is too small: both sides must have at least " +
                         std::to_string(kMinSide));
    check_sides(image.height, image.width);
    check_pairs(image);
    check_rows(image, stride_of(image));
    if (image.format != APDEPTH_NV12) return;
    check_rows(image, chroma_stride_of(image));
    if (image.chroma == nullptr && stride_of(image) < 0)
        throw UsageError("chroma is NULL: with rows upwards it isn't known where it begins");
}

const std::uint8_t *rgb_row(const apdepth_image &image, int y, std::uint8_t *scratch) {
    const std::uint8_t *row = image.data + stride_of(image) * y;
    switch (image.format) {
        case APDEPTH_RGB: return row;
        case APDEPTH_BGR: pick<3, 2, 1, 0>(row, image.width, scratch); break;
        case APDEPTH_RGBA: pick<4, 0, 1, 2>(row, image.width, scratch); break;
        case APDEPTH_BGRA: pick<4, 2, 1, 0>(row, image.width, scratch); break;
        case APDEPTH_GREY: pick<1, 0, 0, 0>(row, image.width, scratch); break;
        case APDEPTH_NV12: nv12(row, chroma_row(image, y), image.width, scratch); break;
        case APDEPTH_YUYV: pairs<0, 1, 2, 3>(row, image.width, scratch); break;
        case APDEPTH_UYVY: pairs<1, 0, 3, 2>(row, image.width, scratch); break;
    }
    return scratch;
}

}  // namespace apdepth::detail
