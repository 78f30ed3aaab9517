// The node's logic, without ROS: the latest frame wins, the rate holds, a failure is one frame's.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <stdexcept>

#include "apdepth_ros/depth_worker.hpp"
#include "apdepth_ros/image_layout.hpp"

using namespace apdepth_ros;

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                        \
        }                                                                        \
    } while (false)

namespace {

// A frame of one pixel that carries its number.
Frame make_frame(int number) { return {{1, 2, 3}, 1, 1, std::make_shared<const int>(number)}; }

int number_of(const Frame &frame) { return *static_cast<const int *>(frame.context.get()); }

void wait_for(const std::function<bool()> &condition) {
    for (int i = 0; i < 10000 && !condition(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(condition());
}

void the_latest_frame_wins() {
    std::promise<void> gate;
    std::shared_future<void> opened = gate.get_future().share();
    std::atomic<int> started{0}, finished{0}, last{-1};
    DepthWorker worker(
        [&](const Frame &frame, std::vector<float> &depth) {
            ++started;
            opened.wait();
            depth.assign(1, static_cast<float>(number_of(frame)));
        },
        [&](const Frame &frame, const std::vector<float> &depth) {
            CHECK(static_cast<int>(depth[0]) == number_of(frame));
            last = number_of(frame);
            ++finished;
        },
        [](const Frame &, const std::string &) { CHECK(false); }, 0);
    worker.submit(make_frame(0));
    wait_for([&] { return started == 1; });
    for (int number = 1; number <= 100; ++number) worker.submit(make_frame(number));
    gate.set_value();
    wait_for([&] { return finished == 2; });
    CHECK(last == 100 && worker.dropped() == 99);
}

void a_failure_is_one_frames() {
    std::atomic<int> finished{0}, failed{0};
    DepthWorker worker(
        [](const Frame &frame, std::vector<float> &depth) {
            if (number_of(frame) == 1) throw std::runtime_error("too dark");
            depth.assign(1, 0.0f);
        },
        [&](const Frame &, const std::vector<float> &) { ++finished; },
        [&](const Frame &frame, const std::string &why) {
            CHECK(number_of(frame) == 1 && why == "too dark");
            ++failed;
        },
        0);
    worker.submit(make_frame(1));
    wait_for([&] { return failed == 1; });
    worker.submit(make_frame(2));
    wait_for([&] { return finished == 1; });
}

void a_rate_is_not_passed() {
    constexpr auto kPause = std::chrono::milliseconds(20);  // of 50 a second
    std::vector<DepthWorker::Clock::time_point> starts;
    std::atomic<int> finished{0};
    DepthWorker worker(
        [&](const Frame &, std::vector<float> &) { starts.push_back(DepthWorker::Clock::now()); },
        [&](const Frame &, const std::vector<float> &) { ++finished; },
        [](const Frame &, const std::string &) { CHECK(false); }, 50);
    for (int number = 0; number < 3; ++number) {
        worker.submit(make_frame(number));
        wait_for([&] { return finished == number + 1; });
    }
    // Each start is taken a moment after the worker's own, so a pause may look that much shorter.
    CHECK(starts[2] - starts[0] >= 2 * kPause - std::chrono::milliseconds(5));
}

void it_ends_with_a_frame_waiting() {
    std::atomic<int> finished{0};
    {
        DepthWorker worker([](const Frame &, std::vector<float> &) {},
                           [&](const Frame &, const std::vector<float> &) { ++finished; },
                           [](const Frame &, const std::string &) {}, 0.001);
        worker.submit(make_frame(0));
        wait_for([&] { return finished == 1; });
        worker.submit(make_frame(1));  // would have to wait for 1000 seconds
    }
    CHECK(finished == 1);
}

std::vector<std::uint8_t> rgb_of(const std::vector<std::uint8_t> &data, int width, std::size_t step,
                                 const char *encoding) {
    const ImageRows image{data.data(), data.size(), 2, width, step, encoding};
    CHECK(!fault_of(image));
    std::vector<std::uint8_t> rgb;
    to_rgb(image, rgb);
    return rgb;
}

void encodings_become_rgb() {
    using Bytes = std::vector<std::uint8_t>;
    CHECK(rgb_of({1, 2, 3, 0, 4, 5, 6}, 1, 4, "rgb8") == (Bytes{1, 2, 3, 4, 5, 6}));
    CHECK(rgb_of({3, 2, 1, 6, 5, 4}, 1, 3, "bgr8") == (Bytes{1, 2, 3, 4, 5, 6}));
    CHECK(rgb_of({1, 2, 3, 9, 4, 5, 6, 9}, 1, 4, "rgba8") == (Bytes{1, 2, 3, 4, 5, 6}));
    CHECK(rgb_of({3, 2, 1, 9, 6, 5, 4, 9}, 1, 4, "bgra8") == (Bytes{1, 2, 3, 4, 5, 6}));
    CHECK(rgb_of({7, 8, 0, 9, 1}, 2, 3, "mono8") == (Bytes{7, 7, 7, 8, 8, 8, 9, 9, 9, 1, 1, 1}));
}

void images_with_faults_are_refused() {
    const std::vector<std::uint8_t> data(12);
    const auto fault = [&](std::size_t size, int height, int width, std::size_t step,
                           const char *encoding) {
        return fault_of({data.data(), size, height, width, step, encoding}).has_value();
    };
    CHECK(!fault(12, 2, 2, 6, "rgb8"));
    CHECK(fault(12, 2, 2, 6, "yuv422"));
    CHECK(fault(12, 2, 2, 5, "rgb8"));
    CHECK(fault(11, 2, 2, 6, "rgb8"));
    CHECK(fault(12, 3, 2, 6, "rgb8"));
    CHECK(fault(12, 0, 2, 6, "rgb8") && fault(12, 2, -2, 6, "rgb8"));
    CHECK(fault(0, 1, 1, 3, "rgb8"));
}

}  // namespace

int main() {
    the_latest_frame_wins();
    a_failure_is_one_frames();
    a_rate_is_not_passed();
    it_ends_with_a_frame_waiting();
    encodings_become_rgb();
    images_with_faults_are_refused();
}
