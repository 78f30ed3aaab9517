#include "lane.hpp"

#include <cstdint>
#include <cstring>

#include "../error.hpp"
#include "log.hpp"

namespace apdepth::detail::tensorrt {
namespace {

constexpr std::uintptr_t kAlignment = 256;  // what TensorRT asks of a tensor's address

std::size_t pixels(const Sizes &sizes) {
    std::size_t count = 1;
    for (const int size : sizes) count *= static_cast<std::size_t>(size);
    return count;
}

std::size_t image_bytes(const Sizes &sizes) { return 3 * pixels(sizes); }
std::size_t depth_bytes(const Sizes &sizes) { return sizeof(float) * pixels(sizes); }

Sizes sizes_of(const Frame &image, int batch) { return {batch, image.height, image.width}; }

bool is_aligned(const void *address) {
    return reinterpret_cast<std::uintptr_t>(address) % kAlignment == 0;
}

// TensorRT for RTX captures by itself.
#ifdef TRT_MAJOR_RTX
constexpr bool kCaptures = false;
#else
constexpr bool kCaptures = true;
#endif

// Does `work`, which queues on `stream`. Where it fails, what it has queued is waited for: its
// memory may be freed or filled anew.
template <class Work>
void finish_or_wait(cudaStream_t stream, Work work) {
    Log::clear();
    try {
        work();
    } catch (...) {
        cudaStreamSynchronize(stream);
        cudaGetLastError();
        throw;
    }
}

}  // namespace

Lane::Lane(LoadedEngine &engine, cudaEvent_t done)
    : engine_(engine),
      done_(done),
      context_(engine.make_context()),
      stream_(make_stream()),
      image_(allocate(image_bytes(engine.largest()))),
      depth_(allocate(depth_bytes(engine.largest()))),
      host_image_(allocate_pinned(image_bytes(engine.largest()))),
      host_depth_(allocate_pinned(depth_bytes(engine.largest()))),
      captures_(kCaptures) {}

Lane::~Lane() { cudaEventSynchronize(done_); }

void Lane::infer(const Frame &image, int batch, float *depth) {
    finish_or_wait(stream_.get(), [&] { compute(image, batch); });
    std::memcpy(depth, host_depth_.get(), depth_bytes(sizes_of(image, image.count)));
}

// The first run warms up, the second is captured in a CUDA graph, which later ones launch.
void Lane::compute(const Frame &image, int batch) {
    const Sizes sizes = sizes_of(image, batch);
    cudaStream_t stream = stream_.get();
    reshape(sizes);
    copy_frames(image, batch, static_cast<std::uint8_t *>(host_image_.get()));
    APDEPTH_CUDA(cudaMemcpyAsync(image_.get(), host_image_.get(), image_bytes(sizes),
                                 cudaMemcpyHostToDevice, stream));
    bind(image_.get(), depth_.get());
    if (!(captures_ && runs_ > 0 && launch())) queue(stream);
    APDEPTH_CUDA(cudaMemcpyAsync(host_depth_.get(), depth_.get(),
                                 depth_bytes(sizes_of(image, image.count)), cudaMemcpyDeviceToHost,
                                 stream));
    APDEPTH_CUDA(cudaStreamSynchronize(stream));
    ++runs_;
}

void Lane::enqueue(const DeviceFrames &frames) {
    finish_or_wait(static_cast<cudaStream_t>(frames.stream), [&] { queue_all(frames); });
}

void Lane::queue_all(const DeviceFrames &frames) {
    const auto stream = static_cast<cudaStream_t>(frames.stream);
    const Sizes sizes = {frames.batch, frames.height, frames.width};
    APDEPTH_CUDA(cudaStreamWaitEvent(stream, done_, 0));
    reshape(sizes);
    void *image = is_aligned(frames.rgb) ? const_cast<std::uint8_t *>(frames.rgb) : image_.get();
    void *depth = is_aligned(frames.depth) ? frames.depth : depth_.get();
    bind(image, depth);
    if (image == image_.get())
        APDEPTH_CUDA(
            cudaMemcpyAsync(image, frames.rgb, image_bytes(sizes), cudaMemcpyDefault, stream));
    queue(stream);
    if (depth == depth_.get())
        APDEPTH_CUDA(
            cudaMemcpyAsync(frames.depth, depth, depth_bytes(sizes), cudaMemcpyDefault, stream));
    APDEPTH_CUDA(cudaEventRecord(done_, stream));
    ++runs_;
}

void Lane::reshape(const Sizes &sizes) {
    if (sizes == sizes_) return;
    sizes_ = {};
    graph_.reset();
    const nvinfer1::Dims4 shape(sizes[0], sizes[1], sizes[2], 3);
    if (!context_->setInputShape("image", shape))
        throw engine_.refusal("refuses image [" + std::to_string(sizes[0]) + ", " +
                              std::to_string(sizes[1]) + ", " + std::to_string(sizes[2]) + ", 3]");
    const nvinfer1::Dims found = context_->getTensorShape("depth");
    bool fits = found.nbDims == 3;  // depth is written through the caller's pointer
    for (std::size_t axis = 0; fits && axis < sizes.size(); ++axis)
        fits = found.d[axis] == sizes[axis];
    if (!fits) throw engine_.refusal("gives depth of another size than the frames");
    sizes_ = sizes;
    runs_ = 0;
}

void Lane::bind(void *image, void *depth) {
    if (image == bound_image_ && depth == bound_depth_) return;
    bound_image_ = bound_depth_ = nullptr;
    if (!context_->setTensorAddress("image", image) || !context_->setTensorAddress("depth", depth))
        throw engine_.refusal("refuses the address of a tensor");
    bound_image_ = image;
    bound_depth_ = depth;
}

void Lane::queue(cudaStream_t stream) {
    if (!context_->enqueueV3(stream)) throw engine_.refusal("failed to run");
}

// False where the engine can't be captured.
bool Lane::launch() {
    if (!graph_) graph_ = capture();
    if (!graph_) return captures_ = false;
    APDEPTH_CUDA(cudaGraphLaunch(graph_.get(), stream_.get()));
    return true;
}

Graph Lane::capture() {
    cudaStream_t stream = stream_.get();
    cudaGraph_t captured = nullptr;
    cudaGraphExec_t executable = nullptr;
    // Thread-local: other threads may allocate memory meanwhile.
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess) {
        const bool queued = context_->enqueueV3(stream);
        const bool ended = cudaStreamEndCapture(stream, &captured) == cudaSuccess;
        if (queued && ended && cudaGraphInstantiate(&executable, captured, 0) != cudaSuccess)
            executable = nullptr;
        if (captured != nullptr) cudaGraphDestroy(captured);
    }
    cudaGetLastError();
    Log::clear();  // where it failed, the run does without
    return Graph(executable);
}

}  // namespace apdepth::detail::tensorrt
