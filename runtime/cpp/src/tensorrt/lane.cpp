#include "lane.hpp"

#include <cstdint>
#include <cstring>

#include "../error.hpp"

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

bool is_aligned(const void *address) {
    return reinterpret_cast<std::uintptr_t>(address) % kAlignment == 0;
}

}  // namespace

Lane::Lane(nvinfer1::IExecutionContext *context, const Sizes &largest, bool captures)
    : context_(context),
      stream_(make_stream()),
      done_(make_event()),
      image_(allocate(image_bytes(largest))),
      depth_(allocate(depth_bytes(largest))),
      host_image_(allocate_pinned(image_bytes(largest))),
      host_depth_(allocate_pinned(depth_bytes(largest))),
      captures_(captures) {}

Lane::~Lane() { cudaEventSynchronize(done_.get()); }

void Lane::infer(const Frame &image, int copies, float *depth) {
    APDEPTH_CUDA(cudaEventSynchronize(done_.get()));  // a run queued elsewhere may use the context
    const Sizes sizes = {copies, image.height, image.width};
    reshape(sizes);
    copy_frame(image, copies, static_cast<std::uint8_t *>(host_image_.get()));
    cudaStream_t stream = stream_.get();
    APDEPTH_CUDA(cudaMemcpyAsync(image_.get(), host_image_.get(), image_bytes(sizes),
                                 cudaMemcpyHostToDevice, stream));
    bind(image_.get(), depth_.get());
    run();
    const std::size_t bytes = sizeof *depth * image.pixels();
    APDEPTH_CUDA(
        cudaMemcpyAsync(host_depth_.get(), depth_.get(), bytes, cudaMemcpyDeviceToHost, stream));
    APDEPTH_CUDA(cudaEventRecord(done_.get(), stream));
    APDEPTH_CUDA(cudaStreamSynchronize(stream));
    std::memcpy(depth, host_depth_.get(), bytes);
}

void Lane::enqueue(const DeviceFrames &frames) {
    const auto stream = static_cast<cudaStream_t>(frames.stream);
    const Sizes sizes = {frames.batch, frames.height, frames.width};
    APDEPTH_CUDA(cudaStreamWaitEvent(stream, done_.get(), 0));
    reshape(sizes);
    void *image = is_aligned(frames.rgb) ? const_cast<std::uint8_t *>(frames.rgb) : image_.get();
    void *depth = is_aligned(frames.depth) ? frames.depth : depth_.get();
    bind(image, depth);
    if (image == image_.get())
        APDEPTH_CUDA(cudaMemcpyAsync(image, frames.rgb, image_bytes(sizes),
                                     cudaMemcpyDeviceToDevice, stream));
    queue(stream);
    if (depth == depth_.get())
        APDEPTH_CUDA(cudaMemcpyAsync(frames.depth, depth, depth_bytes(sizes),
                                     cudaMemcpyDeviceToDevice, stream));
    APDEPTH_CUDA(cudaEventRecord(done_.get(), stream));
    ++runs_;
}

void Lane::reshape(const Sizes &sizes) {
    if (sizes == sizes_) return;
    sizes_ = {};
    graph_.reset();
    const nvinfer1::Dims4 shape(sizes[0], sizes[1], sizes[2], 3);
    if (!context_->setInputShape("image", shape)) throw BackendError("TensorRT refuses the size");
    const nvinfer1::Dims found = context_->getTensorShape("depth");
    bool fits = found.nbDims == 3;  // depth is written through the caller's pointer
    for (std::size_t axis = 0; fits && axis < sizes.size(); ++axis)
        fits = found.d[axis] == sizes[axis];
    if (!fits) throw BackendError("TensorRT gives depth of another size than the frames");
    sizes_ = sizes;
    runs_ = 0;
}

void Lane::bind(void *image, void *depth) {
    if (image == bound_image_ && depth == bound_depth_) return;
    bound_image_ = bound_depth_ = nullptr;
    if (!context_->setTensorAddress("image", image) || !context_->setTensorAddress("depth", depth))
        throw BackendError("TensorRT refuses the address of a tensor");
    bound_image_ = image;
    bound_depth_ = depth;
}

void Lane::queue(cudaStream_t stream) {
    if (context_->enqueueV3(stream)) return;
    cudaStreamSynchronize(stream);  // what is queued already may still use the memory
    throw BackendError("the engine failed to run");
}

// The first run warms up, the second is captured in a CUDA graph, which later ones launch.
void Lane::run() {
    if (!(captures_ && runs_ > 0 && launch())) queue(stream_.get());
    ++runs_;
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
    // Thread-local: other threads may allocate memory meanwhile.
    APDEPTH_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    const bool queued = context_->enqueueV3(stream);
    cudaGraph_t captured = nullptr;
    const bool ended = cudaStreamEndCapture(stream, &captured) == cudaSuccess;
    cudaGraphExec_t executable = nullptr;
    if (queued && ended && cudaGraphInstantiate(&executable, captured, 0) != cudaSuccess)
        executable = nullptr;
    if (captured != nullptr) cudaGraphDestroy(captured);
    cudaGetLastError();
    return Graph(executable);
}

}  // namespace apdepth::detail::tensorrt
