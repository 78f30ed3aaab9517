// The stabiliser by what it does to streams. tests/runtime/cpp compares its numbers with Python's.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "allocations.hpp"
#include "apdepth.hpp"
#include "check.hpp"
#include "metric/exponential.hpp"
#include "streams.hpp"

namespace {

constexpr int kHeight = 96, kWidth = 128;

apdepth::ImageView view(const Shot &shot) { return {shot.rgb.data(), shot.height, shot.width}; }

std::vector<float> steadied(apdepth::Stabilizer &stabilizer, const Shot &shot) {
    return stabilizer(view(shot), shot.depth);
}

void exponentials_are_exact_to_a_float() {
    for (float x = apdepth::detail::kLeastLog; x < 20.0f; x += 0.0137f)
        CHECK(std::abs(apdepth::detail::exponential(x) / std::exp(double{x}) - 1) < 2e-7);
}

// Standard deviation over time, mean over pixels.
double unrest(const std::vector<std::vector<float>> &stream) {
    double sum = 0.0;
    for (std::size_t i = 0; i < stream[0].size(); ++i) {
        double mean = 0.0, square = 0.0;
        for (const auto &depth : stream) mean += depth[i], square += double{depth[i]} * depth[i];
        const auto frames = static_cast<double>(stream.size());
        sum += std::sqrt(std::max(0.0, square / frames - (mean / frames) * (mean / frames)));
    }
    return sum / static_cast<double>(stream[0].size());
}

// Of a still camera, whose depth jumps by a scale and a shift of each frame's own.
void a_still_scene_becomes_steady(double jump, double most) {
    const World world(0);
    Drawn drawn(1);
    apdepth::Stabilizer stabilizer;
    std::vector<std::vector<float>> before, after;
    Shot last;
    for (int number = 0; number < 50; ++number) {
        last = world.shot(40, 60, kHeight, kWidth, drawn);
        const double scale = 1 + jump * (drawn.uniform() - 0.5),
                     shift = jump * (drawn.uniform() - 0.5);
        if (number > 0)
            for (float &depth : last.depth) depth = static_cast<float>(scale * depth + shift);
        const auto found = steadied(stabilizer, last);
        CHECK(stabilizer.age() == number + 1);
        if (number == 0) CHECK(found == last.depth);
        if (number >= 20) before.push_back(last.depth), after.push_back(found);
    }
    CHECK(unrest(after) < most * unrest(before));
    if (jump == 0.0) CHECK(last.error(after.back()) < 0.01);  // steady, and true
}

void a_pixel_gone_wild_is_gone_in_the_next_frame() {
    const World world(0);
    Drawn drawn(1);
    apdepth::Stabilizer stabilizer;
    for (int number = 0; number < 12; ++number) {
        Shot shot = world.shot(40, 60, kHeight, kWidth, drawn);
        const std::size_t place = shot.at(50, 50);
        if (number == 6) shot.depth[place] = 1e30f;
        const auto found = steadied(stabilizer, shot);
        if (number == 6) CHECK(found[place] > 1e29f);
        else CHECK(std::abs(found[place] - shot.truth[place]) < 0.1f);
    }
}

void a_pan_is_steadied_too() {
    const World world(2);
    Drawn drawn(3);
    for (const int speed : {1, 3, 9}) {
        apdepth::Stabilizer stabilizer;
        double before = 0.0, after = 0.0;
        for (int number = 0; number < 17; ++number) {
            const Shot shot = world.shot(50, 10 + speed * number, kHeight, kWidth, drawn);
            const auto found = steadied(stabilizer, shot);
            if (number < 8) continue;
            before += shot.error(shot.depth, 16), after += shot.error(found, 16);
        }
        CHECK(after < (speed == 9 ? 0.8 : 0.65) * before);
        CHECK(stabilizer.age() == 17);
    }
}

void a_cut_and_another_size_are_a_start() {
    const World here(0), there(7);
    Drawn drawn(1);
    apdepth::Stabilizer stabilizer, fresh;
    for (int i = 0; i < 10; ++i) steadied(stabilizer, here.shot(40, 60, kHeight, kWidth, drawn));
    CHECK(stabilizer.age() == 10);
    const Shot first = there.shot(40, 60, kHeight, kWidth, drawn);
    CHECK(steadied(stabilizer, first) == first.depth && stabilizer.age() == 1);
    steadied(fresh, first);
    for (int i = 0; i < 5; ++i) {
        const Shot next = there.shot(40, 60 + i, kHeight, kWidth, drawn);
        CHECK(steadied(stabilizer, next) == steadied(fresh, next));
    }
    const Shot other = there.shot(40, 60, kHeight - 2, kWidth, drawn);
    CHECK(steadied(stabilizer, other) == other.depth && stabilizer.age() == 1);
    CHECK(steadied(stabilizer, other) != std::vector<float>() && stabilizer.age() == 2);
    stabilizer.reset();
    CHECK(stabilizer.age() == 0);
    CHECK(steadied(stabilizer, other) == other.depth && stabilizer.age() == 1);
}

// Two of each size, so that what is left of a size doesn't serve another.
void any_size_works() {
    const World world(4);
    Drawn drawn(5);
    apdepth::Stabilizer stabilizer;
    for (const auto &[height, width] : {std::pair{2, 2},
                                        {2, 3},
                                        {3, 2},
                                        {4, 4},
                                        {5, 7},
                                        {2, 90},
                                        {15, 17},
                                        {16, 16},
                                        {90, 2},
                                        {33, 47},
                                        {17, 90},
                                        {64, 64},
                                        {63, 64},
                                        {64, 63},
                                        {7, 9},
                                        {4, 400}})
        for (int number = 0; number < 12; ++number) {
            // There and back, by odd and even steps down and to the right.
            const int step = number < 6 ? number : 12 - number;
            const Shot shot = world.shot(40 + step, 60 + 3 * step, height, width, drawn);
            const auto found = steadied(stabilizer, shot);
            if (number == 0) CHECK(found == shot.depth && stabilizer.age() == 1);
            for (const float depth : found) CHECK(depth > -0.5f && depth < 1.5f);
        }
}

void rows_may_have_gaps_and_the_result_be_in_place() {
    const World world(4);
    Drawn drawn(5);
    apdepth::Stabilizer plain, other;
    const std::size_t row = 3 * kWidth, stride = row + 7;
    for (int number = 0; number < 6; ++number) {
        Shot shot = world.shot(40, 60 + number, kHeight, kWidth, drawn);
        std::vector<std::uint8_t> wide(stride * (kHeight - 1) + row, 77);
        for (std::size_t y = 0; y < kHeight; ++y)
            std::memcpy(&wide[y * stride], &shot.rgb[y * row], row);
        const auto expected = steadied(plain, shot);
        other.steady({wide.data(), kHeight, kWidth, stride}, shot.depth.data(), shot.depth.data());
        CHECK(shot.depth == expected);
    }
}

// Where a near thing passes before a wall, it leaves no trail: neither by colour nor, in the wall's
// own colours, by depth.
void nothing_trails_behind_a_thing_that_moves(bool same_colours) {
    const World world(0), things(5);
    Drawn drawn(3);
    apdepth::Stabilizer stabilizer;
    double before = 0.0, after = 0.0;
    for (int number = 0; number < 22; ++number) {
        Shot shot = world.shot(40, 60, kHeight, kWidth, drawn);
        const Shot thing = things.shot(0, 0, kHeight, kWidth, drawn);
        for (int y = 30; y < 70; ++y)
            for (int x = 4 * number; x < std::min(4 * number + 30, kWidth); ++x) {
                const std::size_t at = shot.at(y, x);
                shot.truth[at] = 0.05f;
                shot.depth[at] = static_cast<float>(0.05 + 0.02 * drawn.normal());
                if (!same_colours)
                    std::copy_n(&thing.rgb[3 * thing.at(y, x - 4 * number)], 3, &shot.rgb[3 * at]);
            }
        const auto found = steadied(stabilizer, shot);
        if (number < 8) continue;
        // Where the thing is, and where it was in the last five frames.
        for (int y = 30; y < 70; ++y)
            for (int x = 4 * number - 20; x < std::min(4 * number + 30, kWidth); ++x) {
                const std::size_t at = shot.at(y, x);
                before += std::abs(shot.depth[at] - shot.truth[at]);
                after += std::abs(found[at] - shot.truth[at]);
            }
    }
    CHECK(after < before);
}

void flat_pictures_and_flat_depth_are_no_trouble() {
    apdepth::Stabilizer stabilizer;
    const std::vector<std::uint8_t> grey(3 * kHeight * kWidth, 90);
    for (const float value : {0.5f, 0.5f, 0.51f}) {
        const std::vector<float> depth(kHeight * kWidth, value);
        const auto found = stabilizer({grey.data(), kHeight, kWidth}, depth);
        for (const float pixel : found) CHECK(pixel > 0.49f && pixel < 0.52f);
    }
}

void what_cant_work_is_refused_and_leaves_the_stream() {
    const World world(4);
    Drawn drawn(5);
    const Shot shots[] = {world.shot(40, 60, kHeight, kWidth, drawn),
                          world.shot(40, 61, kHeight, kWidth, drawn)};
    apdepth_stabilizer *handle = nullptr;
    CHECK(apdepth_stabilizer_new(&handle) == APDEPTH_OK);
    apdepth::Stabilizer expected;
    std::vector<float> out(shots[0].depth.size());
    const std::uint8_t *rgb = shots[0].rgb.data();
    const float *depth = shots[0].depth.data();
    const auto call = [&](int height, int width, std::size_t stride) {
        return apdepth_stabilize(handle, rgb, height, width, stride, depth, out.data());
    };
    steadied(expected, shots[0]);
    CHECK(call(kHeight, kWidth, 3 * kWidth) == APDEPTH_OK);
    CHECK_FAILS(call(1, 96, 3 * 96), APDEPTH_IMAGE_ERROR, "96x1 pixels is too small");
    CHECK_FAILS(call(-5, 96, 3 * 96), APDEPTH_IMAGE_ERROR, "too small");
    CHECK_FAILS(call(2147483647, 2147483647, std::size_t{3} * 2147483647), APDEPTH_IMAGE_ERROR,
                "memory");
    CHECK_FAILS(call(kHeight, kWidth, 3 * kWidth - 1), APDEPTH_IMAGE_ERROR, "a stride of 383");
    const float infinity = std::numeric_limits<float>::infinity();
    for (const float value : {std::nanf(""), infinity, -infinity})
        for (const std::size_t place : {std::size_t{0}, out.size() / 2, out.size() - 1}) {
            std::vector<float> spoilt = shots[0].depth;
            spoilt[place] = value;
            depth = spoilt.data();
            CHECK_FAILS(call(kHeight, kWidth, 3 * kWidth), APDEPTH_IMAGE_ERROR, "NaN or Inf");
        }
    depth = shots[1].depth.data(), rgb = shots[1].rgb.data();
    CHECK(call(kHeight, kWidth, 3 * kWidth) == APDEPTH_OK);
    CHECK(out == steadied(expected, shots[1]));
    depth = nullptr;
    CHECK_FAILS(call(kHeight, kWidth, 3 * kWidth), APDEPTH_USAGE_ERROR, "depth is NULL");
    rgb = nullptr;
    CHECK_FAILS(call(kHeight, kWidth, 3 * kWidth), APDEPTH_USAGE_ERROR, "rgb is NULL");
    apdepth_stabilizer_close(handle);
    apdepth_stabilizer_close(nullptr);
    handle = nullptr;
    CHECK_FAILS(call(kHeight, kWidth, 3 * kWidth), APDEPTH_USAGE_ERROR, "stabilizer is NULL");
    CHECK_FAILS(apdepth_stabilizer_new(nullptr), APDEPTH_USAGE_ERROR, "out is NULL");
    CHECK_FAILS(apdepth_stabilizer_reset(nullptr), APDEPTH_USAGE_ERROR, "stabilizer is NULL");
    CHECK_FAILS(apdepth_stabilizer_age(nullptr, nullptr), APDEPTH_USAGE_ERROR, "stabilizer");
    std::vector<float> little(7);
    try {
        expected.steady(view(shots[0]), shots[0].depth, little);
        CHECK(false);
    } catch (const apdepth::Error &error) {
        CHECK_TEXT(error.what(), "the result has less than height * width floats");
    }
}

// After the first frame of a size, also where a cut, a moved window, a smaller size or a return to
// the first come between.
void nothing_is_allocated_in_the_frame_path() {
    const World here(0), there(7);
    Drawn drawn(1);
    std::vector<Shot> shots;
    for (int i = 0; i < 4; ++i) shots.push_back(here.shot(40 + i, 60 - 3 * i, 65, 97, drawn));
    for (int i = 0; i < 3; ++i) shots.push_back(there.shot(40, 60 + 5 * i, 65, 97, drawn));
    for (int i = 0; i < 3; ++i) shots.push_back(there.shot(40, 60 + i, 48, 64, drawn));
    for (int i = 0; i < 3; ++i) shots.push_back(here.shot(40, 60 + i, 65, 97, drawn));
    apdepth::Stabilizer stabilizer;
    std::vector<float> out(65 * 97);
    long before = 0;
    for (std::size_t i = 0; i < shots.size(); ++i) {
        stabilizer.steady(view(shots[i]), shots[i].depth.data(), out.data());
        if (i == 0) CHECK(allocations() > 0);  // they are counted
        if (i == 0) before = allocations();
        CHECK(allocations() == before);
    }
}

}  // namespace

int main() {
    exponentials_are_exact_to_a_float();
    a_still_scene_becomes_steady(0.0, 0.25);
    a_still_scene_becomes_steady(0.2, 0.25);
    a_pixel_gone_wild_is_gone_in_the_next_frame();
    a_pan_is_steadied_too();
    a_cut_and_another_size_are_a_start();
    any_size_works();
    rows_may_have_gaps_and_the_result_be_in_place();
    nothing_trails_behind_a_thing_that_moves(false);
    nothing_trails_behind_a_thing_that_moves(true);
    flat_pictures_and_flat_depth_are_no_trouble();
    what_cant_work_is_refused_and_leaves_the_stream();
    nothing_is_allocated_in_the_frame_path();
}
