// Metres from anchors, through the header on top of the C API. That they are Python's is compared
// in tests/runtime/cpp/test_metres.py.
#include <cstring>
#include <limits>

#include "apdepth.hpp"
#include "check.hpp"
#include "scenes.hpp"

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr apdepth_fit_options kLine{1};

apdepth::Depth view(const Scene &scene) { return {scene.depth, scene.height, scene.width}; }

bool near(double one, double other, double share) {
    return std::abs(one - other) <= share * std::abs(other);
}

void exact_anchors_give_the_line_itself() {
    apdepth::Metric metric;
    for (const auto &[scale, shift] : {std::pair(4.0, 1.0), {30.0, 0.2}, {0.5, 8.0}}) {
        const Scene scene(64, 96, scale, shift, 0.0);
        for (const int count : {3, 20, 1000}) {
            const apdepth_fit_result fit =
                metric.fit(view(scene), scene.anchors(count, 0.0, 1), kLine);
            CHECK(fit.valid != 0 && fit.why[0] == '\0');
            CHECK(fit.anchors == count && fit.inliers == count);
            const double share = count < 10 ? 1e-3 : 1e-5;  // of what float's digits leave open
            CHECK(near(fit.scale, scale, share) && near(fit.shift, shift, share));
            CHECK(fit.median_error < 1e-6 && std::isnan(fit.held_out_error));
            CHECK(fit.covariance[0] > 0 && fit.covariance[3] > 0);
            CHECK(fit.covariance[1] == fit.covariance[2]);
            CHECK(scene.error(metric.metres(view(scene))) < share);
        }
    }
}

void two_fifths_may_be_grossly_wrong() {
    apdepth::Metric metric;
    const Scene scene(120, 160, 5.0, 1.0, 0.0);
    for (unsigned seed = 0; seed < 50; ++seed) {
        const apdepth_fit_result fit = metric.fit(view(scene), scene.anchors(64, 0.4, seed));
        CHECK(fit.valid != 0 && near(fit.scale, 5.0, 0.02) && near(fit.shift, 1.0, 0.05));
    }
}

void the_field_mends_what_scale_and_shift_can_not() {
    apdepth::Metric metric;
    for (const auto &[height, width] : {std::pair(120, 160), {160, 120}, {480, 640}, {90, 90}}) {
        const Scene scene(height, width);
        const std::vector<apdepth_anchor> anchors = scene.anchors(512, 0.1, 2);
        CHECK(metric.fit(view(scene), anchors, kLine).valid != 0);
        const double plain = scene.error(metric.metres(view(scene)));
        const apdepth_fit_result fit = metric.fit(view(scene), anchors);
        CHECK(fit.valid != 0 && fit.held_out_error < 0.05);
        CHECK(scene.error(metric.metres(view(scene))) < 0.25 * plain);
    }
}

// Rows and columns are alike: a picture that is turned over its diagonal has its metres turned.
void rows_and_columns_are_alike() {
    const Scene scene(90, 160);
    Scene turned(160, 90);
    for (int row = 0; row < 90; ++row)
        for (int column = 0; column < 160; ++column)
            turned.depth[turned.at(column, row)] = scene.depth[scene.at(row, column)];
    std::vector<apdepth_anchor> anchors = scene.anchors(300, 0.1, 3);
    apdepth::Metric metric;
    CHECK(!std::isnan(metric.fit(view(scene), anchors).held_out_error));
    const std::vector<float> upright = metric.metres(view(scene));
    for (apdepth_anchor &anchor : anchors) std::swap(anchor.x, anchor.y);
    metric.fit(view(turned), anchors);
    const std::vector<float> found = metric.metres(view(turned));
    for (int row = 0; row < 90; ++row)
        for (int column = 0; column < 160; ++column)
            CHECK(near(found[turned.at(column, row)], upright[scene.at(row, column)], 1e-5));
}

void anchors_that_tell_nothing_give_no_metres_and_the_reason() {
    const Scene scene(64, 96);
    struct Case {
        std::vector<apdepth_anchor> anchors;
        const char *why;
        int usable;
    };
    // Depth of the floor falls to the bottom, and to the right.
    const Case cases[] = {
        {{}, "a scale and a shift need two anchors in the frame, not 0", 0},
        {{{3, 3, 2, 0}}, "need two anchors in the frame, not 1", 1},
        {{{3, 3, 2, 0}, {3, 3, 2.1f, 0}, {3, 3, 1.9f, 0}},
         "all 3 anchors lie at one relative depth (0.970)",
         3},
        {{{3, 60, 5, 0}, {3, 3, 1, 0}},
         "farther anchors lie nearer in the picture: are x, y and z right?",
         2},
        {{{-9, 3, 5, 0}, {99, 3, 1, 0}, {5, 64, 2, 0}}, "anchors in the frame, not 0", 0},
        {{{95.5f, 3, 5, 0}, {-0.6f, 3, 1, 0}, {5, 63.5f, 2, 0}}, "in the frame, not 0", 0},
        {{{3, 3, -5, 0}, {9, 3, kNan, 0}, {5, 6, 0, 0}, {5, 6, kInf, 0}}, "in the frame, not 0", 0},
        {{{kNan, 3, 5, 0}, {9, kNan, 4, 0}, {kInf, 6, 1, 0}}, "in the frame, not 0", 0},
        {{{3, 3, 5, -1}, {9, 3, 9, kNan}, {9, 3, 9, kInf}}, "in the frame, not 0", 0},
    };
    apdepth::Metric metric;
    for (const Case &one : cases) {
        const apdepth_fit_result fit = metric.fit(view(scene), one.anchors);
        CHECK(fit.valid == 0 && fit.anchors == one.usable && fit.inliers == 0);
        CHECK_TEXT(fit.why, one.why);
        CHECK(std::isnan(fit.scale) && std::isnan(fit.reach[1]) && std::isnan(fit.covariance[3]));
        for (const float z : metric.metres(view(scene))) CHECK(std::isnan(z));
    }
}

void anchors_of_another_picture_are_noticed() {
    const Scene scene(64, 96);
    apdepth::Metric metric;
    const apdepth_fit_result fit = metric.fit(view(scene), scene.anchors(100, 1.0, 5));
    CHECK(fit.valid == 0 && fit.why[0] != '\0');
    CHECK(std::strstr(fit.why, "agree") != nullptr ||
          std::strstr(fit.why, "go together") != nullptr);
}

void depth_that_is_not_known_gives_neither_anchors_nor_metres() {
    Scene scene(64, 96, 4.0, 1.0, 0.0);
    const std::vector<apdepth_anchor> anchors = scene.anchors(200, 0.0, 6);
    for (int row = 20; row < 40; ++row)
        for (int column = 0; column < 96; ++column)
            scene.depth[scene.at(row, column)] = column % 2 == 0 ? kNan : kInf;
    apdepth::Metric metric;
    const apdepth_fit_result fit = metric.fit(view(scene), anchors);
    CHECK(fit.valid != 0 && fit.anchors < 200 && near(fit.scale, 4.0, 1e-5));
    const std::vector<float> metres = metric.metres(view(scene));
    for (int row = 0; row < 64; ++row)
        for (const int column : {10, 11})
            CHECK(std::isnan(metres[scene.at(row, column)]) == (row >= 20 && row < 40));
}

void a_fit_of_a_frame_without_any_depth_says_so() {
    const std::vector<float> depth(64 * 96, kNan);
    apdepth::Metric metric;
    const Scene scene(64, 96);
    CHECK_TEXT(metric.fit({depth, 64, 96}, scene.anchors(50, 0.0, 1)).why, "not 0");
    for (const float z : metric.metres({depth, 64, 96})) CHECK(std::isnan(z));
}

void metres_end_where_they_would_be_behind_the_camera() {
    const Scene scene(64, 96, 4.0, -1.2, 0.0);
    std::vector<apdepth_anchor> anchors;
    for (const apdepth_anchor &anchor : scene.anchors(200, 0.0, 7))
        if (anchor.z > 0.5f) anchors.push_back(anchor);
    apdepth::Metric metric;
    CHECK(metric.fit(view(scene), anchors, kLine).valid != 0);
    const std::vector<float> metres = metric.metres(view(scene));
    for (std::size_t i = 0; i < metres.size(); ++i)
        CHECK(std::isnan(metres[i]) == (scene.truth[i] <= 0.0f));
}

// Anchors at a tenth of the range, to 10 %: the near end is anybody's guess.
void metres_end_where_the_anchors_no_longer_tell() {
    const Scene scene(64, 96, 9.0, 0.5, 0.0);
    std::vector<apdepth_anchor> anchors;
    Numbers numbers(0);
    for (int i = 0; i < 8; ++i) {
        const auto row = static_cast<float>(i);
        const float z = scene.truth[scene.at(i, 2)] * static_cast<float>(numbers.uniform(0.9, 1.1));
        anchors.push_back({2.0f, row, z, 0.1f * z});
    }
    apdepth::Metric metric;
    const apdepth_fit_result fit = metric.fit(view(scene), anchors, kLine);
    const std::vector<float> metres = metric.metres(view(scene));
    CHECK(fit.valid == 0 || (fit.reach[0] > 0.1 && std::isnan(metres[scene.at(32, 40)])));
    CHECK(fit.valid == 0 || !std::isnan(metres[scene.at(4, 2)]));
}

void a_sigma_says_whom_to_believe() {
    const Scene precise(64, 96, 4.0, 1.0, 0.0), coarse(64, 96, 5.0, 1.0, 0.0);
    std::vector<apdepth_anchor> anchors;
    for (apdepth_anchor anchor : precise.anchors(30, 0.0, 1))
        anchor.sigma = 0.01f, anchors.push_back(anchor);
    for (apdepth_anchor anchor : coarse.anchors(30, 0.0, 2))
        anchor.sigma = 2.0f, anchors.push_back(anchor);
    apdepth::Metric metric;
    CHECK(near(metric.fit(view(precise), anchors, kLine).scale, 4.0, 2e-3));
}

void frames_of_any_size() {
    apdepth::Metric metric;
    for (const auto &[height, width] : {std::pair(2, 2),
                                        {2, 3},
                                        {3, 2},
                                        {2, 500},
                                        {500, 2},
                                        {5, 4},
                                        {41, 40},
                                        {40, 41},
                                        {480, 640}}) {
        const Scene scene(height, width, 5.0, 1.0, height * width > 100 ? 1.0 : 0.0);
        const apdepth_fit_result fit = metric.fit(view(scene), scene.anchors(60, 0.0, 8));
        CHECK(fit.valid != 0 && scene.error(metric.metres(view(scene))) < 0.15);
    }
}

// Under the sanitizers above all.
void whatever_is_given_metres_are_above_0_or_unknown() {
    const float odd[] = {kNan, kInf, -kInf, 3e38f, -3e38f, 1e-40f, 0.0f, -1.0f};
    apdepth::Metric metric;
    for (unsigned seed = 0; seed < 400; ++seed) {
        Numbers numbers(seed);
        const auto below = [&](int most) { return static_cast<int>(numbers.uniform(0, most)); };
        const double share = seed % 4 * 0.1;
        const auto pick = [&](double low, double high) {
            return numbers.uniform(0, 1) < share ? odd[below(8)]
                                                 : static_cast<float>(numbers.uniform(low, high));
        };
        const int height = 2 + below(50), width = 2 + below(50);
        std::vector<float> depth(static_cast<std::size_t>(height * width));
        for (float &value : depth) value = pick(0, 1);
        std::vector<apdepth_anchor> anchors;
        for (int i = below(60); i > 0; --i)
            anchors.push_back({pick(-1, width), pick(-1, height), pick(0.5, 5), pick(-0.1, 1)});
        const apdepth_fit_result fit = metric.fit({depth, height, width}, anchors);
        CHECK((fit.valid == 0) == (fit.why[0] != '\0') && fit.inliers <= fit.anchors);
        CHECK(fit.anchors <= static_cast<int>(anchors.size()));
        for (const float z : metric.metres({depth, height, width}))
            CHECK(std::isnan(z) || (fit.valid != 0 && z > 0.0f && z < kInf));
    }
}

void metres_may_take_the_place_of_depth() {
    const Scene scene(120, 160);
    apdepth::Metric metric;
    for (const int skip_field : {0, 1}) {
        metric.fit(view(scene), scene.anchors(256, 0.0, 1), {skip_field});
        const std::vector<float> expected = metric.metres(view(scene));
        std::vector<float> both = scene.depth;
        metric.metres({both, 120, 160}, both);
        CHECK(both == expected);
    }
}

void a_fit_with_a_field_is_of_its_frame_alone() {
    const Scene scene(120, 160), other(60, 80);
    apdepth::Metric metric;
    std::vector<float> metres(other.depth.size(), -1.0f);
    const auto of_other = [&] {
        apdepth_metric *handle = nullptr;
        CHECK(apdepth_metric_new(&handle) == APDEPTH_OK);
        const std::vector<apdepth_anchor> anchors = scene.anchors(256, 0.0, 1);
        CHECK(apdepth_fit(handle, scene.depth.data(), 120, 160, anchors.data(), 256, nullptr,
                          nullptr) == APDEPTH_OK);
        const apdepth_status status =
            apdepth_metres(handle, other.depth.data(), 60, 80, metres.data());
        apdepth_metric_close(handle);
        return status;
    };
    CHECK_FAILS(of_other(), APDEPTH_IMAGE_ERROR,
                "the fit is of depth [120, 160], not [60, 80]: fit each frame, or set skip_field");
    for (const float z : metres) CHECK(z == -1.0f);
    metric.fit(view(scene), scene.anchors(256, 0.0, 1), kLine);
    CHECK(metric.metres(view(other)).size() == other.depth.size());
}

void wrong_arguments_are_refused_and_change_nothing() {
    const Scene scene(64, 96);
    const float *depth = scene.depth.data();
    const std::vector<apdepth_anchor> anchors = scene.anchors(50, 0.0, 1);
    std::vector<float> metres(scene.depth.size());
    CHECK_FAILS(apdepth_metric_new(nullptr), APDEPTH_USAGE_ERROR, "out is NULL");
    apdepth_metric *metric = nullptr;
    CHECK(apdepth_metric_new(&metric) == APDEPTH_OK && metric != nullptr);
    const auto fit = [&](apdepth_metric *with, const float *pixels, int height, int width,
                         const apdepth_anchor *at, int count) {
        return apdepth_fit(with, pixels, height, width, at, count, nullptr, nullptr);
    };
    CHECK_FAILS(apdepth_metres(metric, depth, 64, 96, metres.data()), APDEPTH_USAGE_ERROR,
                "there is no fit yet: call apdepth_fit first");
    CHECK(fit(metric, depth, 64, 96, anchors.data(), 50) == APDEPTH_OK);
    CHECK_FAILS(fit(nullptr, depth, 64, 96, anchors.data(), 50), APDEPTH_USAGE_ERROR,
                "metric is NULL");
    CHECK_FAILS(fit(metric, nullptr, 64, 96, anchors.data(), 50), APDEPTH_USAGE_ERROR,
                "depth is NULL");
    CHECK_FAILS(fit(metric, depth, 64, 96, nullptr, 50), APDEPTH_USAGE_ERROR, "anchors is NULL");
    CHECK_FAILS(fit(metric, depth, 64, 96, anchors.data(), -1), APDEPTH_USAGE_ERROR, "-1 anchors");
    for (const int side : {1, 0, -5})
        CHECK_FAILS(fit(metric, depth, side, 96, anchors.data(), 50), APDEPTH_IMAGE_ERROR,
                    "is no picture's");
    const int most = std::numeric_limits<int>::max();
    CHECK_FAILS(fit(metric, depth, most, most, anchors.data(), 50), APDEPTH_IMAGE_ERROR,
                "fits no memory");
    CHECK_FAILS(apdepth_metres(nullptr, depth, 64, 96, metres.data()), APDEPTH_USAGE_ERROR,
                "metric");
    CHECK_FAILS(apdepth_metres(metric, nullptr, 64, 96, metres.data()), APDEPTH_USAGE_ERROR,
                "depth");
    CHECK_FAILS(apdepth_metres(metric, depth, 64, 96, nullptr), APDEPTH_USAGE_ERROR, "metres is");
    CHECK_FAILS(apdepth_metres(metric, depth, 64, 1, metres.data()), APDEPTH_IMAGE_ERROR,
                "[64, 1]");
    // The fit from before is still there.
    CHECK(apdepth_metres(metric, depth, 64, 96, metres.data()) == APDEPTH_OK);
    CHECK(scene.error(metres) < 0.1);
    CHECK(fit(metric, depth, 64, 96, nullptr, 0) == APDEPTH_OK);
    apdepth_metric_close(metric);
    apdepth_metric_close(nullptr);
}

void the_header_refuses_memory_that_is_too_small() {
    const Scene scene(64, 96);
    apdepth::Metric metric;
    metric.fit(view(scene), scene.anchors(50, 0.0, 1));
    std::vector<float> small(64 * 96 - 1);
    const auto status_of = [](auto call) {
        try {
            call();
        } catch (const apdepth::Error &error) {
            return error.status();
        }
        return APDEPTH_OK;
    };
    CHECK(status_of([&] { metric.metres(view(scene), small); }) == APDEPTH_USAGE_ERROR);
    CHECK(status_of([&] { apdepth::Depth(small, 64, 96); }) == APDEPTH_IMAGE_ERROR);
    CHECK(status_of([&] { metric.metres({small.data(), -1, 96}); }) == APDEPTH_IMAGE_ERROR);
    CHECK(apdepth_default_fit_options().skip_field == 0);
}

}  // namespace

int main() {
    exact_anchors_give_the_line_itself();
    two_fifths_may_be_grossly_wrong();
    the_field_mends_what_scale_and_shift_can_not();
    rows_and_columns_are_alike();
    anchors_that_tell_nothing_give_no_metres_and_the_reason();
    anchors_of_another_picture_are_noticed();
    depth_that_is_not_known_gives_neither_anchors_nor_metres();
    a_fit_of_a_frame_without_any_depth_says_so();
    metres_end_where_they_would_be_behind_the_camera();
    metres_end_where_the_anchors_no_longer_tell();
    a_sigma_says_whom_to_believe();
    frames_of_any_size();
    whatever_is_given_metres_are_above_0_or_unknown();
    metres_may_take_the_place_of_depth();
    a_fit_with_a_field_is_of_its_frame_alone();
    wrong_arguments_are_refused_and_change_nothing();
    the_header_refuses_memory_that_is_too_small();
}
