// Points: none in the air, all of a surface. tests/runtime/cpp compares them with Python's.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "allocations.hpp"
#include "apdepth.hpp"
#include "check.hpp"

namespace {

constexpr int kHeight = 64, kWidth = 96;
constexpr apdepth_camera kCamera{80.0, 90.0, 47.5, 31.5};

using Depth = std::vector<float>;

std::size_t at(int y, int x) {
    return static_cast<std::size_t>(y) * kWidth + static_cast<std::size_t>(x);
}

Depth made(const std::function<double(int, int)> &z) {
    Depth values;
    for (int y = 0; y < kHeight; ++y)
        for (int x = 0; x < kWidth; ++x) values.push_back(static_cast<float>(z(y, x)));
    return values;
}

// Turned so far from facing the camera, about an axis that is turned itself.
Depth plane(double degrees, double turn = 0.0) {
    const double unit = std::acos(-1.0) / 180, tilt = degrees * unit;
    const double a = std::sin(tilt) * std::sin(turn * unit),
                 b = std::sin(tilt) * std::cos(turn * unit);
    return made([&](int y, int x) {
        return 1 / (a * (x - kCamera.cx) / kCamera.fx + b * (y - kCamera.cy) / kCamera.fy +
                    std::cos(tilt));
    });
}

std::vector<std::uint8_t> colours() {
    std::vector<std::uint8_t> rgb(3 * kHeight * kWidth);
    for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<std::uint8_t>(i * 37 % 251);
    return rgb;
}

apdepth::Cloud cloud_of(const Depth &z, const apdepth_point_options &options = {}) {
    const auto rgb = colours();
    apdepth::Cloud cloud;
    apdepth::points(z, {rgb.data(), kHeight, kWidth}, kCamera, options, cloud);
    return cloud;
}

// What stayed, by the pixels that points are seen at; each in its place and colours.
std::vector<bool> kept(const Depth &z, const apdepth_point_options &options = {}) {
    const auto rgb = colours();
    const apdepth::Cloud cloud = cloud_of(z, options);
    std::vector<bool> found(z.size());
    std::size_t last = 0;
    for (std::size_t i = 0; i < cloud.size; ++i) {
        const float *point = &cloud.xyz[3 * i];
        const long x = std::lround(kCamera.fx * point[0] / point[2] + kCamera.cx);
        const long y = std::lround(kCamera.fy * point[1] / point[2] + kCamera.cy);
        const std::size_t place = at(static_cast<int>(y), static_cast<int>(x));
        CHECK(i == 0 || place > last);  // row by row
        CHECK(point[2] == z[place]);
        CHECK(std::equal(&rgb[3 * place], &rgb[3 * place] + 3, &cloud.rgb[3 * i]));
        found[place] = true, last = place;
    }
    return found;
}

std::size_t count_of(const std::vector<bool> &flags) {
    return static_cast<std::size_t>(std::count(flags.begin(), flags.end(), true));
}

void a_slanted_plane_keeps_every_point() {
    for (const double degrees : {0.0, 30.0, 80.0})
        for (const double turn : {0.0, 30.0, 90.0, 200.0}) {
            const Depth z = plane(degrees, turn);
            const std::vector<bool> found = kept(z);
            for (std::size_t i = 0; i < z.size(); ++i)
                CHECK(found[i] == (std::isfinite(z[i]) && z[i] > 0));
        }
}

void where_z_is_not_known_there_is_no_point() {
    Depth z(kHeight * kWidth, 2.0f);
    const float infinity = std::numeric_limits<float>::infinity();
    const float values[] = {std::nanf(""), infinity, -infinity, 0.0f, -1.0f};
    for (int i = 0; i < 5; ++i) z[at(10, 10 + i)] = values[i];
    const std::vector<bool> found = kept(z);
    CHECK(count_of(found) == z.size() - 5);
    for (int i = 0; i < 5; ++i) CHECK(!found[at(10, 10 + i)]);
    CHECK(count_of(kept(Depth(z.size(), std::nanf("")))) == 0);
}

// A near and a far wall with 1 to 8 pixels between: those go, and no other.
void what_is_smeared_over_a_step_is_dropped() {
    for (int width = 1; width <= 8; ++width)
        for (const bool across : {true, false}) {
            const Depth z = made([&](int y, int x) {
                const int place = across ? x : y;
                return std::clamp(1 + 2.0 * (place - 31 + width) / (width + 1), 1.0, 3.0);
            });
            const std::vector<bool> found = kept(z);
            for (std::size_t i = 0; i < z.size(); ++i)
                CHECK(found[i] == !(z[i] > 1.0f && z[i] < 3.0f));
        }
}

void thin_things_and_clean_steps_stay() {
    CHECK(count_of(kept(made([](int y, int x) {
              return x == 40 ? 1.0 : y == 20 ? 1.5 : 3.0;
          }))) == kHeight * kWidth);
    CHECK(count_of(kept(made([](int y, int x) {
              return y >= 20 && y < 40 && x >= 30 && x < 60 ? 1.0 : 3.0;
          }))) == kHeight * kWidth);
}

void options_say_what_an_edge_is_and_how_many_points() {
    const Depth z = made([](int, int x) { return x < 48 ? 1.0 : x == 48 ? 1.05 : 1.1; });
    CHECK(count_of(kept(z)) == kHeight * (kWidth - 1));
    CHECK(count_of(kept(z, {0.06, 0, 0})) == kHeight * kWidth);
    const Depth enlarged =
        made([](int, int x) { return std::clamp(1 + 0.2 * (x - 40) / 12, 1.0, 1.2); });
    CHECK(count_of(kept(enlarged)) == kHeight * kWidth);
    const std::vector<bool> sharp = kept(enlarged, {0, 4, 0});
    CHECK(sharp[at(9, 40)] && !sharp[at(9, 46)] && sharp[at(9, 52)]);
    const std::vector<bool> third = kept(z, {0, 0, 3});
    CHECK(count_of(third) == 22 * (32 - 1));
    for (std::size_t i = 0; i < z.size(); ++i)
        if (third[i]) CHECK(i / kWidth % 3 == 0 && i % kWidth % 3 == 0);
    CHECK(count_of(kept(z, {0, 2000000000, 2000000000})) == 1);
}

void points_need_no_colours_and_allocate_nothing() {
    const Depth z = plane(30);
    const apdepth::Cloud expected = cloud_of(z);
    std::vector<float> xyz(3 * z.size());
    std::size_t count = 0;
    const long before = allocations();
    CHECK(apdepth_points(z.data(), nullptr, kHeight, kWidth, 0, &kCamera, nullptr, xyz.data(),
                         nullptr, &count) == APDEPTH_OK);
    CHECK(allocations() == before && before > 0);
    CHECK(count == expected.size && xyz == expected.xyz);
}

void what_cant_work_is_refused() {
    const Depth z = plane(30);
    const auto rgb = colours();
    std::vector<float> xyz(3 * z.size());
    std::vector<std::uint8_t> out(3 * z.size());
    std::size_t count = 0;
    const auto call = [&](apdepth_camera camera, apdepth_point_options options, int height = 64,
                          std::size_t stride = 3 * kWidth) {
        return apdepth_points(z.data(), rgb.data(), height, kWidth, stride, &camera, &options,
                              xyz.data(), out.data(), &count);
    };
    CHECK(call(kCamera, {}) == APDEPTH_OK);
    CHECK_FAILS(call({0, 80, 1, 1}, {}), APDEPTH_USAGE_ERROR, "above 0; not 0,80,1,1");
    CHECK_FAILS(call({80, 80, std::nan(""), 1}, {}), APDEPTH_USAGE_ERROR, "not 80,80,nan,1");
    CHECK_FAILS(call(kCamera, {-0.1, 0, 0}), APDEPTH_USAGE_ERROR, "such as 0.04, not -0.1");
    CHECK_FAILS(call(kCamera, {std::nan(""), 0, 0}), APDEPTH_USAGE_ERROR, "not nan");
    CHECK_FAILS(call(kCamera, {0, -1, 0}), APDEPTH_USAGE_ERROR, "spacing is a number of pixels");
    CHECK_FAILS(call(kCamera, {0, 0, -3}), APDEPTH_USAGE_ERROR, "every is a number of pixels");
    CHECK_FAILS(call(kCamera, {}, 1), APDEPTH_IMAGE_ERROR, "too small");
    CHECK_FAILS(call(kCamera, {}, 64, 287), APDEPTH_IMAGE_ERROR, "a stride of 287");
    CHECK_FAILS(apdepth_points(z.data(), rgb.data(), kHeight, kWidth, 3 * kWidth, nullptr, nullptr,
                               xyz.data(), out.data(), &count),
                APDEPTH_USAGE_ERROR, "camera is NULL");
    CHECK_FAILS(apdepth_points(z.data(), rgb.data(), kHeight, kWidth, 3 * kWidth, &kCamera, nullptr,
                               xyz.data(), nullptr, &count),
                APDEPTH_USAGE_ERROR, "colours is NULL");
}

}  // namespace

int main() {
    a_slanted_plane_keeps_every_point();
    where_z_is_not_known_there_is_no_point();
    what_is_smeared_over_a_step_is_dropped();
    thin_things_and_clean_steps_stay();
    options_say_what_an_edge_is_and_how_many_points();
    points_need_no_colours_and_allocate_nothing();
    what_cant_work_is_refused();
}
