#include "metric/points.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace apdepth::detail {
namespace {

// How far on both sides, in spacings, to look for the surfaces that an edge is smeared between.
constexpr std::ptrdiff_t kReach[] = {1, 2, 4, 8};
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

bool is_known(float z) { return z > 0.0f && z < std::numeric_limits<float>::infinity(); }

// 1/z; NaN, which compares as false, where z isn't known.
float inverse(float z) { return is_known(z) ? 1.0f / z : kUnknown; }

// A row or a column: its values lie `step` apart.
struct Line {
    const float *z;
    std::ptrdiff_t step, last;

    float at(std::ptrdiff_t place) const {
        return inverse(z[std::clamp<std::ptrdiff_t>(place, 0, last) * step]);
    }
    // 1/z at `place` were it on the plane that is seen `by` away from it.
    float continued(std::ptrdiff_t place, std::ptrdiff_t by) const {
        return 2.0f * at(place + by) - at(place + 2 * by);
    }
};

// Parts of a pixel's z between which a neighbour's surely is no edge: they spare most pixels the
// divisions. A little narrower than ratio says, for rounding.
struct Level {
    explicit Level(double ratio)
        : nearest(static_cast<float>((1 + 1e-5) / (1 + ratio))),
          farthest(ratio < 1 ? static_cast<float>((1 - 1e-5) / (1 - ratio))
                             : std::numeric_limits<float>::infinity()) {}
    bool holds(float z, float neighbour) const {
        return neighbour > nearest * z && neighbour < farthest * z;
    }

    float nearest, farthest;
};

// On a plane 1/z is linear: flying is what lies beyond what one side continues to and before what
// the other does, of 1/z's own size, and only where it differs from both neighbours.
bool is_between(const Line &line, std::ptrdiff_t place, const Thinning &thinning) {
    const std::ptrdiff_t spacing = thinning.spacing;
    const float here = line.at(place);
    const float before = std::abs(here - line.at(place - spacing));
    const float after = std::abs(line.at(place + spacing) - here);
    const float edge = static_cast<float>(thinning.ratio) * here;
    if (!(before > edge && after > edge)) return false;
    const float low = here * static_cast<float>(1 - thinning.ratio);
    const float high = here * static_cast<float>(1 + thinning.ratio);
    for (const std::ptrdiff_t reach : kReach) {
        const float one = line.continued(place, -reach * spacing);
        const float other = line.continued(place, reach * spacing);
        if ((one < low && high < other) || (other < low && high < one)) return true;
    }
    return false;
}

inline bool is_flying(const Line &line, std::ptrdiff_t place, const Thinning &thinning,
                      const Level &level) {
    const std::ptrdiff_t spacing = thinning.spacing;
    if (place < spacing || place + spacing > line.last) return false;
    const float *z = line.z + place * line.step;
    return !level.holds(*z, z[-spacing * line.step]) && !level.holds(*z, z[spacing * line.step]) &&
           is_between(line, place, thinning);
}

}  // namespace

std::size_t points_of(const Surface &surface, const apdepth_camera &camera,
                      const Thinning &thinning, float *xyz, std::uint8_t *colours) {
    const std::ptrdiff_t height = surface.height, width = surface.width;
    const Level level(thinning.ratio);
    std::size_t count = 0;
    for (std::ptrdiff_t y = 0; y < height; y += thinning.every) {
        const float *row = surface.z + y * width;
        const auto down = static_cast<float>((static_cast<double>(y) - camera.cy) / camera.fy);
        const std::uint8_t *pixels =
            surface.rgb == nullptr ? nullptr
                                   : surface.rgb + static_cast<std::size_t>(y) * surface.stride;
        for (std::ptrdiff_t x = 0; x < width; x += thinning.every) {
            const float z = row[x];
            if (!is_known(z) || is_flying({row, 1, width - 1}, x, thinning, level) ||
                is_flying({surface.z + x, width, height - 1}, y, thinning, level))
                continue;
            const auto right = static_cast<float>((static_cast<double>(x) - camera.cx) / camera.fx);
            float *point = xyz + 3 * count;
            point[0] = right * z, point[1] = down * z, point[2] = z;
            if (pixels != nullptr)
                for (int channel = 0; channel < 3; ++channel)
                    colours[3 * count + static_cast<std::size_t>(channel)] =
                        pixels[3 * x + channel];
            ++count;
        }
    }
    return count;
}

}  // namespace apdepth::detail
