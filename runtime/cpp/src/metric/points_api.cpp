// Points from C.
#include <cmath>
#include <string>

#include "apdepth.h"
#include "boundary.hpp"
#include "metric/points.hpp"
#include "runner.hpp"

namespace apdepth::detail {
namespace {

std::string short_text(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    return text;
}

void check_camera(const apdepth_camera &camera) {
    const auto [fx, fy, cx, cy] = camera;
    if (std::isfinite(fx) && std::isfinite(fy) && std::isfinite(cx) && std::isfinite(cy) &&
        fx > 0 && fy > 0)
        return;
    throw UsageError(
        "intrinsics are fx,fy,cx,cy in pixels, finite, the focal lengths above 0; not " +
        short_text(fx) + "," + short_text(fy) + "," + short_text(cx) + "," + short_text(cy));
}

// Zero stands for the default.
Thinning thinning_of(const apdepth_point_options *given) {
    const apdepth_point_options options = given == nullptr ? apdepth_point_options{} : *given;
    if (!(options.ratio >= 0))
        throw UsageError("the ratio of an edge is a part of z, such as 0.04, not " +
                         short_text(options.ratio));
    if (options.spacing < 0)
        throw UsageError("spacing is a number of pixels, 1 or more, not " +
                         std::to_string(options.spacing));
    if (options.every < 0)
        throw UsageError("every is a number of pixels, 1 or more, not " +
                         std::to_string(options.every));
    return {options.ratio == 0 ? 0.04 : options.ratio, options.spacing == 0 ? 1 : options.spacing,
            options.every == 0 ? 1 : options.every};
}

}  // namespace
}  // namespace apdepth::detail

using namespace apdepth::detail;

apdepth_point_options apdepth_default_point_options(void) { return {}; }

apdepth_status apdepth_points(const float *z, const uint8_t *rgb, int height, int width,
                              size_t stride, const apdepth_camera *camera,
                              const apdepth_point_options *options, float *xyz, uint8_t *colours,
                              size_t *count) {
    return guarded([&] {
        require(z, "z");
        require(camera, "camera");
        require(xyz, "xyz");
        require(count, "count");
        if (rgb != nullptr) require(colours, "colours");
        check_sides(height, width);
        if (rgb != nullptr) check_stride({rgb, height, width, stride});
        check_camera(*camera);
        *count =
            points_of({z, rgb, height, width, stride}, *camera, thinning_of(options), xyz, colours);
    });
}
