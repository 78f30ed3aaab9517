// What callers of one engine do to each other, and what failures leave behind. In both flavours, on
// the machine of fake_nvidia.
#include <atomic>
#include <chrono>
#include <future>
#include <sstream>
#include <thread>

#include "engines.hpp"

namespace {

constexpr Size kSmall = {8, 16}, kLarge = {32, 24};

using Call = std::function<void(Runner &)>;

// ---- Lanes ----

bool soon(std::future<void> event) {
    return event.wait_for(std::chrono::seconds(10)) == std::future_status::ready;
}

// While a newcomer's context is made (seconds on TensorRT for RTX), a run that is at `step` goes on
// to its end.
void check_holds_nobody_up(const Call &newcomer, const char *step, const Call &other) {
    const auto runner = open_engine();
    other(*runner);
    std::promise<void> begun, making, finished;
    std::atomic<bool> is_first{true}, stalled{false};
    fake::before(step, [&] {
        if (!is_first.exchange(false)) return;
        begun.set_value();
        stalled = stalled || !soon(making.get_future());
    });
    fake::before("createExecutionContext", [&] {
        making.set_value();
        stalled = stalled || !soon(finished.get_future());
    });
    std::thread running([&] {
        other(*runner);
        finished.set_value();
    });
    CHECK(soon(begun.get_future()));
    newcomer(*runner);
    running.join();
    CHECK(!stalled);
    fake::before(step, {});
    fake::before("createExecutionContext", {});
}

void making_a_lane_holds_nobody_up() {
    Camera small(kSmall), large(kLarge);
    const Call infer = [](Runner &runner) { CHECK(infers(runner, kSmall)); };
    check_holds_nobody_up(infer, "cudaMemcpyAsync", infer);
    check_holds_nobody_up([&](Runner &runner) { CHECK(large.gets_right(runner, 1)); }, "enqueueV3",
                          [&](Runner &runner) { CHECK(small.gets_right(runner, 2)); });
}

// Two threads' runs follow each other: the second waits for the first one's end, not for its start.
void threads_on_streams_follow_each_other() {
    Camera first(kSmall), second(kLarge);
    const auto runner = open_engine();
    std::thread other;
    std::atomic<bool> is_first{true};
    fake::before("enqueueV3", [&] {
        if (!is_first.exchange(false)) return;
        other = std::thread([&] { second.enqueue(*runner, 2); });
        for (int i = 0; i < 50 && fake::count("cudaStreamWaitEvent") < 2; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    first.enqueue(*runner, 1);
    other.join();
    second.wait();
    CHECK(first.is_right() && second.is_right());
}

// What cameras of two sizes cost once both have run.
void each_size_keeps_its_lane() {
    Camera small(kSmall), large(kLarge);
    const auto runner = open_engine();
    for (unsigned seed = 0; seed < 12; ++seed) {
        if (seed == 4) fake::forget_calls();
        CHECK(infers(*runner, seed % 2 == 0 ? kSmall : kLarge, seed));
        CHECK((seed % 2 == 0 ? small : large).gets_right(*runner, seed));
    }
    CHECK(fake::count("createExecutionContext") == 0 && fake::count("setInputShape") == 0);
    CHECK(fake::count("cudaStreamBeginCapture") == 0 && fake::count("cudaMalloc") == 0);
    CHECK(fake::count("cudaGraphLaunch") == (kRtx ? 0 : 8));
    CHECK(fake::count("serialize") == 0);
}

void the_size_that_was_longest_unused_goes() {
    const auto runner = open_engine();
    const auto reshapes = [&](int side) {
        const int before = fake::count("setInputShape");
        CHECK(infers(*runner, {side, side}));
        return fake::count("setInputShape") - before;
    };
    for (const int side : {8, 16, 24, 32}) CHECK(reshapes(side) == 1);
    for (const int side : {8, 16, 24, 32}) CHECK(reshapes(side) == 0);
    CHECK(reshapes(40) == 1);  // in place of 8
    for (const int side : {16, 24, 32, 40}) CHECK(reshapes(side) == 0);
    CHECK(reshapes(8) == 1);  // in place of 16
    CHECK(fake::count("createExecutionContext") == 4);
    CHECK(fake::count("serialize") == (kRtx ? 5 : 0));  // once for each size
}

// No room for another size's context: the one there is serves them all, and none is tried again.
void without_room_a_lane_serves_every_size() {
    Camera small(kSmall), large(kLarge);
    const auto runner = open_engine();
    CHECK(infers(*runner, kSmall) && small.gets_right(*runner, 0));
    fake::forget_calls();
    for (int n = 1; n < 9; ++n) fake::refuse("createExecutionContext", n, "OutOfMemory");
    for (unsigned seed = 0; seed < 6; ++seed) {
        CHECK(infers(*runner, seed % 2 == 0 ? kLarge : kSmall, seed));
        CHECK((seed % 2 == 0 ? large : small).gets_right(*runner, seed));
    }
    CHECK(fake::count("createExecutionContext") == 2);  // one for infer, one for infer_async
}

void many_threads_share_an_engine() {
    const auto runner = open_engine();
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 4; ++thread)
        threads.emplace_back([&runner, thread] {
            for (unsigned i = 0; i < 12; ++i)
                CHECK(infers(*runner, (i + thread) % 3 == 0 ? kSmall : kLarge, 100 * thread + i));
        });
    for (unsigned thread = 0; thread < 2; ++thread)
        threads.emplace_back([&runner, thread] {
            Camera camera(thread == 0 ? kSmall : kLarge);
            for (unsigned i = 0; i < 12; ++i) CHECK(camera.gets_right(*runner, i));
        });
    for (std::thread &thread : threads) thread.join();
    CHECK(fake::count("createExecutionContext") <= 10);
}

// ---- Reasons ----

void tensorrts_own_reason_is_told_of_opening() {
    fake::refuse("deserializeCudaEngine", 1, "Error Code 1:  no\nplan");
    CHECK_TEXT(failure([] { open_engine(); }),
               "engines/fused.fp16.engine can't be loaded (Error Code 1: no plan): build it again");
    fake::refuse("createExecutionContext", 1, "OutOfMemory (4 GB)");
    CHECK_TEXT(failure([] { open_engine(); }),
               "gives no execution context (OutOfMemory (4 GB)): it needs about 0 MB; 1074 of");
}

// The second engine gives no reason: the first one's must not be told again.
void check_reason(const char *step, const std::string &expected, const Call &call) {
    const auto first = open_engine(), second = open_engine();
    fake::refuse(step, 1, "why");
    fake::refuse(step, 2);
    CHECK_TEXT(failure([&] { call(*first); }),
               "engines/fused.fp16.engine " + expected + " (why): ");
    CHECK_TEXT(failure([&] { call(*second); }), expected + " (no reason given): ");
}

void tensorrts_own_reason_is_told_of_running() {
    Camera camera(kSmall);
    for (const Call &call : {Call([](Runner &runner) { infers(runner, kSmall); }),
                             Call([&](Runner &runner) { camera.gets_right(runner, 1); })}) {
        check_reason("setInputShape", "refuses image [1, 8, 16, 3]", call);
        check_reason("setTensorAddress", "refuses the address of a tensor", call);
        check_reason("enqueueV3", "failed to run", call);
    }
}

// The run after a capture that failed has a reason of its own, or none.
void a_captures_reason_is_not_a_runs() {
    if (kRtx) return;
    const auto runner = open_engine();
    CHECK(infers(*runner, kSmall));
    fake::refuse("enqueueV3", 1, "can't be captured");
    fake::refuse("enqueueV3", 2);
    CHECK_TEXT(failure([&] { infers(*runner, kSmall); }), "failed to run (no reason given)");
}

// In the midst of one thread's run that fails without a word, another's fails with one.
void two_threads_reasons_dont_mix() {
    const auto runner = open_engine();
    fake::refuse("enqueueV3", 1);
    fake::refuse("enqueueV3", 2, "yours");
    std::string mine, yours;
    std::atomic<bool> is_mine{true};
    fake::before("enqueueV3", [&] {
        if (!is_mine.exchange(false)) return;
        std::thread([&] { yours = failure([&] { infers(*runner, kSmall); }); }).join();
    });
    mine = failure([&] { infers(*runner, kSmall); });
    CHECK_TEXT(yours, "(yours)");
    CHECK_TEXT(mine, "(no reason given)");
}

// ---- Failures in mid-air ----

// The nth call of `step` fails, wherever that is. What follows is right, and nothing that is still
// queued loses its memory or meets another run of its context. False where there is no nth call.
bool survives(const std::string &step, int nth) {
    Camera small(kSmall), large(kLarge, 0, cudaMemoryTypeDevice, true, 4);
    std::unique_ptr<Runner> runner;
    fake::forget_calls();
    fake::refuse(step, nth);
    if (!failure([&] { runner = open_engine(); }).empty()) runner = open_engine();
    for (unsigned seed = 0; seed < 4; ++seed) {
        failure([&] { CHECK(infers(*runner, seed % 2 == 0 ? kSmall : kLarge, seed)); });
        failure([&] { small.enqueue(*runner, seed); });
        failure([&] { large.enqueue(*runner, seed); });
        CHECK(fake::stack().empty());
    }
    const bool is_there = fake::count(step) >= nth;
    fake::refuse_nothing();
    CHECK(infers(*runner, kSmall, 5));
    large.enqueue(*runner, 6);
    small.enqueue(*runner, 7);
    small.wait();
    CHECK(large.is_right() && small.is_right());
    return is_there;
}

void whatever_fails_the_next_call_is_right() {
    std::istringstream steps(
        "cuInit cuDeviceGet cuDevicePrimaryCtxRetain cuCtxPushCurrent cudaMalloc "
        "cudaMallocHost cudaStreamCreateWithFlags cudaEventCreateWithFlags "
        "cudaPointerGetAttributes cudaStreamIsCapturing cudaMemcpyAsync cudaEventRecord "
        "cudaStreamWaitEvent cudaStreamBeginCapture cudaStreamEndCapture "
        "cudaGraphInstantiate cudaGraphLaunch cudaStreamSynchronize createInferRuntime "
        "deserializeCudaEngine createRuntimeConfig createRuntimeCache deserialize serialize "
        "createExecutionContext setInputShape setTensorAddress enqueueV3 ");
    for (std::string step; steps >> step;) {
        bool is_there = true;
        for (int nth = 1; is_there; ++nth) on_new_machine([&] { is_there = survives(step, nth); });
    }
}

}  // namespace

int main() {
    for (const auto test :
         {making_a_lane_holds_nobody_up, threads_on_streams_follow_each_other,
          each_size_keeps_its_lane, the_size_that_was_longest_unused_goes,
          without_room_a_lane_serves_every_size, many_threads_share_an_engine,
          tensorrts_own_reason_is_told_of_opening, tensorrts_own_reason_is_told_of_running,
          a_captures_reason_is_not_a_runs, two_threads_reasons_dont_mix})
        on_new_machine(test);
    whatever_fails_the_next_call_is_right();
}
