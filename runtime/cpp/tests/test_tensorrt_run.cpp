// The TensorRT backend at work, in both flavours, on the machine of fake_nvidia.
#include "engines.hpp"

namespace {

constexpr Size kSmall = {8, 16}, kLarge = {32, 24};

// ---- Depth ----

void depth_is_right_run_after_run() {
    const auto runner = open_engine({1, 1, 32, 32, 24, 24});
    for (unsigned seed = 0; seed < 4; ++seed) CHECK(infers(*runner, kLarge, seed, seed * 5));
    CHECK(fake::count("cudaStreamBeginCapture") == (kRtx ? 0 : 1));
    CHECK(fake::count("cudaGraphLaunch") == (kRtx ? 0 : 3));
    CHECK(fake::count("enqueueV3") == (kRtx ? 4 : 2));
    CHECK(fake::count("createExecutionContext") == 1);
}

void an_engine_that_cant_be_captured_runs_all_the_same() {
    for (const char *step :
         {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"}) {
        const auto runner = open_engine();
        fake::refuse(step);
        for (unsigned seed = 0; seed < 3; ++seed) CHECK(infers(*runner, kLarge, seed));
    }
}

void a_batch_is_filled_with_copies() { CHECK(infers(*open_engine({2, 2, 8, 8, 16, 16}), kSmall)); }

void work_on_the_callers_streams_follows_each_other() {
    Camera first(kLarge), second(kLarge), third(kSmall);
    const auto runner = open_engine();
    for (unsigned seed = 0; seed < 3; ++seed) {
        first.enqueue(*runner, seed);
        second.enqueue(*runner, seed + 10);
        third.enqueue(*runner, seed + 20);
        third.wait();
        CHECK(first.is_right() && second.is_right() && third.is_right());
    }
}

void closing_waits_for_what_is_queued() {
    Camera camera(kLarge);
    auto runner = open_engine();
    camera.enqueue(*runner, 1);
    runner.reset();
    CHECK(camera.is_right());
}

// ---- The caller's CUDA context ----

void check_all_calls_in(const fake::Context *context) {
    for (const fake::Call &call : fake::calls()) {
        const bool to_driver = call.name[2] != 'd' && call.name.rfind("cu", 0) == 0;
        CHECK(to_driver || call.context == context);
    }
}

// Opening, running and closing leave the thread's contexts as they are, and work in the GPU's.
void check_left_alone(int device, fake::Context *callers) {
    Camera camera(kSmall, device);
    fake::stack().clear();
    if (callers != nullptr) fake::stack() = {callers};
    const std::vector<fake::Context *> before = fake::stack();
    fake::forget_calls();
    auto runner = open_engine({1, 2, 8, 64, 8, 64}, device);
    CHECK(fake::stack() == before);
    for (unsigned seed = 0; seed < 3; ++seed) CHECK(infers(*runner, kLarge, seed));
    CHECK(fake::stack() == before);
    camera.enqueue(*runner, 3);
    CHECK(fake::stack() == before);
    CHECK(!failure([&] {
               runner->infer_async({nullptr, 1, 8, 16, camera.depth, nullptr});
           }).empty());
    CHECK(fake::stack() == before);
    runner.reset();
    CHECK(fake::stack() == before);
    check_all_calls_in(fake::primary(device));
    CHECK(camera.is_right());
}

void the_callers_context_is_left_alone() {
    check_left_alone(0, fake::make_context(0));  // of the same GPU: GStreamer's, PyCUDA's
    check_left_alone(0, fake::primary(0));
    check_left_alone(0, fake::primary(1));
    check_left_alone(1, fake::make_context(0));
}

void no_other_gpu_is_started() {
    check_left_alone(1, nullptr);
    CHECK(!fake::primary(0)->is_active());
    check_left_alone(0, nullptr);
    CHECK(!fake::primary(1)->is_active());
}

void an_engine_that_cant_be_opened_dies_on_its_gpu() {
    fake::stack() = {fake::primary(0)};
    for (const char *step : {"deserializeCudaEngine", "createExecutionContext", "cudaMallocHost"}) {
        fake::refuse(step);
        CHECK(!failure([] { open_engine({1, 1, 8, 8, 8, 8}, 1); }).empty());
        CHECK(fake::alive().empty());
    }
    CHECK(!failure([] { open_engine({1, 1, 8, 8, 8, 9}, 7); }).empty());  // no such GPU
}

// ---- The caller's memory ----

std::string place(cudaMemoryType type, int device, bool mapped = true) {
    Camera camera(kSmall, device, type, mapped);
    const auto runner = open_engine();
    fake::stack().clear();
    Camera own(kSmall);
    const std::string text = failure([&] {
        runner->infer_async({camera.rgb, 1, 8, 16, own.depth, own.stream});
        runner->infer_async({own.rgb, 1, 8, 16, camera.depth, own.stream});
    });
    own.wait();
    return text;
}

void memory_that_the_gpu_reaches_is_taken() {
    CHECK(place(cudaMemoryTypeDevice, 0).empty());
    CHECK(place(cudaMemoryTypeManaged, 0).empty());
    CHECK(place(cudaMemoryTypeHost, 0).empty());  // pinned and mapped: without a copy on a Jetson
    CHECK(place(cudaMemoryTypeHost, 1).empty());
    CHECK_TEXT(place(cudaMemoryTypeDevice, 1), "rgb is on cuda:1 and the engine on cuda:0");
    CHECK_TEXT(place(cudaMemoryTypeHost, 0, false), "rgb is on memory that is on no GPU");
    CHECK_TEXT(place(cudaMemoryTypeUnregistered, 0), "rgb is on memory that is on no GPU");
}

void mapped_memory_gets_its_depth() {
    Camera pinned(kLarge, 0, cudaMemoryTypeHost), crooked(kLarge, 0, cudaMemoryTypeHost, true, 4);
    const auto runner = open_engine();
    fake::forget_calls();
    CHECK(pinned.gets_right(*runner, 1));
    CHECK(fake::count("cudaMemcpyAsync") == 0);
    CHECK(crooked.gets_right(*runner, 2));
    CHECK(fake::count("cudaMemcpyAsync") == 2);
}

void a_stream_under_capture_is_refused() {
    Camera camera(kSmall);
    const auto runner = open_engine();
    const Current on(fake::primary(0));
    CHECK(cudaStreamBeginCapture(camera.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK_TEXT(failure([&] { camera.enqueue(*runner, 1); }), "being captured in a CUDA graph");
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(camera.stream, &graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

void a_stream_of_another_context_is_refused() {
    Camera camera(kSmall);
    const auto runner = open_engine();
    cudaStream_t foreign = nullptr;
    const Current on(fake::make_context(0));
    CHECK(cudaStreamCreateWithFlags(&foreign, cudaStreamNonBlocking) == cudaSuccess);
    CHECK_TEXT(failure([&] {
                   runner->infer_async({camera.rgb, 1, 8, 16, camera.depth, foreign});
               }),
               "cuda:0: cudaStreamIsCapturing failed");
    CHECK(cudaStreamDestroy(foreign) == cudaSuccess);
}

}  // namespace

int main() {
    for (const auto test :
         {depth_is_right_run_after_run, an_engine_that_cant_be_captured_runs_all_the_same,
          a_batch_is_filled_with_copies, work_on_the_callers_streams_follows_each_other,
          closing_waits_for_what_is_queued, the_callers_context_is_left_alone,
          no_other_gpu_is_started, an_engine_that_cant_be_opened_dies_on_its_gpu,
          memory_that_the_gpu_reaches_is_taken, mapped_memory_gets_its_depth,
          a_stream_under_capture_is_refused, a_stream_of_another_context_is_refused})
        on_new_machine(test);
}
