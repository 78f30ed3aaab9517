// Images as cameras send them, and RGB as the model takes it. Knows nothing about ROS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace apdepth_ros {

// Rows of somebody else's memory in one of sensor_msgs' encodings.
struct ImageRows {
    const std::uint8_t *data;
    std::size_t size;  // bytes in all
    int height;
    int width;
    std::size_t step;  // bytes from one row to the next
    std::string encoding;
};

// Why an image can't be taken, or nothing: an encoding other than rgb8, bgr8, rgba8, bgra8 and
// mono8, rows shorter than their pixels, or less data than rows.
std::optional<std::string> fault_of(const ImageRows &image);

// uint8 RGB [height][width][3] without gaps, of an image without a fault, into `rgb`.
void to_rgb(const ImageRows &image, std::vector<std::uint8_t> &rgb);

}  // namespace apdepth_ros
