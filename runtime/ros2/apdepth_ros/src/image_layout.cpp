#include "apdepth_ros/image_layout.hpp"

#include <cstring>

namespace apdepth_ros {
namespace {

// Where a pixel's red, green and blue lie in it.
struct Layout {
    const char *encoding;
    std::size_t bytes, red, green, blue;
};

constexpr Layout kLayouts[] = {{"rgb8", 3, 0, 1, 2},
                               {"bgr8", 3, 2, 1, 0},
                               {"rgba8", 4, 0, 1, 2},
                               {"bgra8", 4, 2, 1, 0},
                               {"mono8", 1, 0, 0, 0}};

const Layout *find_layout(const std::string &encoding) {
    for (const Layout &layout : kLayouts)
        if (encoding == layout.encoding) return &layout;
    return nullptr;
}

}  // namespace

std::optional<std::string> fault_of(const ImageRows &image) {
    const Layout *layout = find_layout(image.encoding);
    if (layout == nullptr)
        return "encoding " + image.encoding + ": rgb8, bgr8, rgba8, bgra8 or mono8 is needed";
    if (image.height < 1 || image.width < 1) return std::string("an image without pixels");
    const std::size_t row = layout->bytes * static_cast<std::size_t>(image.width);
    const auto height = static_cast<std::size_t>(image.height);
    if (image.step < row)
        return "a step of " + std::to_string(image.step) + " bytes for rows of " +
               std::to_string(row);
    if (image.size < row || (image.size - row) / image.step < height - 1)
        return std::to_string(image.size) + " bytes of data for " + std::to_string(image.height) +
               " rows, " + std::to_string(image.step) + " bytes apart";
    return std::nullopt;
}

void to_rgb(const ImageRows &image, std::vector<std::uint8_t> &rgb) {
    const Layout layout = *find_layout(image.encoding);
    const auto height = static_cast<std::size_t>(image.height);
    const auto width = static_cast<std::size_t>(image.width);
    rgb.resize(3 * height * width);
    std::uint8_t *to = rgb.data();
    for (std::size_t y = 0; y < height; ++y) {
        const std::uint8_t *from = image.data + y * image.step;
        if (image.encoding == "rgb8") {
            std::memcpy(to, from, 3 * width);
            to += 3 * width;
            continue;
        }
        for (std::size_t x = 0; x < width; ++x, from += layout.bytes) {
            *to++ = from[layout.red];
            *to++ = from[layout.green];
            *to++ = from[layout.blue];
        }
    }
}

}  // namespace apdepth_ros
