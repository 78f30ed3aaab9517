#include "openvino_runner.hpp"

#include <cstring>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>

#include "error.hpp"

namespace apdepth::detail {
namespace {

// One caller's working memory at a time.
struct Lane {
    ov::InferRequest request;
    std::vector<std::uint8_t> frames;  // for frames with gaps, and for copies
};

ov::Dimension dimension(const apdepth_range &axis) { return {axis.min, axis.max}; }

// float32 graphs stay float32: by itself OpenVINO takes bfloat16 where the CPU has it. And the time
// of one frame counts, not how many are done side by side.
ov::AnyMap settings() {
    return {ov::hint::inference_precision(ov::element::f32),
            ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
}

// By the reader of ONNX alone: Core::read_model would offer a damaged file to every other reader.
std::shared_ptr<ov::Model> read_onnx(const std::string &path) {
    ov::frontend::FrontEndManager manager;
    const auto reader = manager.load_by_framework("onnx");
    return reader->convert(reader->load(path));
}

// One until the process ends. A core gives its thread a stack for signal handlers and puts back the
// one it found: of two that end in the order of their beginning a stack stays that is gone.
ov::Core &core() {
    static ov::Core one;
    return one;
}

ov::CompiledModel compile(const Bundle &bundle, const Graph &graph) {
    try {
        return core().compile_model(read_onnx(bundle.path(graph.file)), "CPU", settings());
    } catch (const std::exception &error) {
        throw BundleError(graph.file + ": OpenVINO can't load it: " + one_line(error.what()));
    }
}

// Depth is written through the caller's pointer: its size must be what was promised.
void check_port(const Graph &graph, const std::vector<ov::Output<const ov::Node>> &ports,
                const std::string &name, const ov::element::Type &type,
                const ov::PartialShape &shape) {
    const bool there = ports.size() == 1 && ports[0].get_names().count(name) > 0;
    if (!there)
        throw BundleError(graph.file + " has other tensors than the fused graph's " + name +
                          ": export the bundle again");
    const ov::PartialShape found = ports[0].get_partial_shape();
    if (ports[0].get_element_type() != type || !found.compatible(shape))
        throw BundleError(graph.file + " has " + name + " " +
                          ports[0].get_element_type().to_string() + " " + found.to_string() +
                          " and the manifest says " + type.to_string() + " " + shape.to_string() +
                          ": export the bundle again");
}

class OpenVinoRunner final : public Runner {
  public:
    OpenVinoRunner(const Bundle &bundle, const Graph &graph)
        : model_(compile(bundle, graph)) {
        backend = "openvino";
        device = "cpu";
        precision = graph.precision;
        frame = graph.frame;
        const auto batch = dimension(frame.batch), height = dimension(frame.height),
                   width = dimension(frame.width);
        check_port(graph, model_.inputs(), "image", ov::element::u8, {batch, height, width, 3});
        check_port(graph, model_.outputs(), "depth", ov::element::f32, {batch, height, width});
        is_dynamic_ = model_.output().get_partial_shape().is_dynamic();
        give_back(take());  // what doesn't fit in memory is better known now
    }

    void infer(const Frame &image, float *depth) override {
        try {
            Lane lane = take();
            run(lane, image, depth);
            give_back(std::move(lane));
        } catch (const ov::Exception &error) {
            throw BackendError("OpenVINO failed: " + one_line(error.what()));
        }
    }

    void infer_async(const DeviceFrames &) override {
        throw UsageError(
            "openvino takes host arrays only: call apdepth_infer, or build an engine "
            "and open it with backend tensorrt-rtx or tensorrt");
    }

  private:
    void run(Lane &lane, const Frame &image, float *depth) {
        const int copies = frame.batch.min;
        const auto batch = static_cast<std::size_t>(copies);
        const auto height = static_cast<std::size_t>(image.height);
        const auto width = static_cast<std::size_t>(image.width);
        const ov::Shape frames = {batch, height, width, 3}, depths = {batch, height, width};
        lane.request.set_input_tensor(
            ov::Tensor(ov::element::u8, frames, input(lane, image, copies)));
        const bool direct = copies == 1 && !is_dynamic_;
        if (direct) lane.request.set_output_tensor(ov::Tensor(ov::element::f32, depths, depth));
        lane.request.infer();
        if (direct) return;
        const ov::Tensor found = lane.request.get_output_tensor();
        if (found.get_shape() != depths) throw BackendError("OpenVINO gave depth of another size");
        std::memcpy(depth, found.data<float>(), image.pixels() * sizeof *depth);
    }

    // The frame where it lies, or copied together. OpenVINO only reads it.
    static std::uint8_t *input(Lane &lane, const Frame &image, int copies) {
        if (copies == 1 && !image.has_gaps()) return const_cast<std::uint8_t *>(image.rgb);
        lane.frames.resize(static_cast<std::size_t>(copies) * 3 * image.pixels());
        copy_frame(image, copies, lane.frames.data());
        return lane.frames.data();
    }

    // Makes a request without the pool's lock: nobody who gives one back waits for a newcomer.
    Lane take() {
        if (std::optional<Lane> lane = take_idle()) return std::move(*lane);
        const std::lock_guard<std::mutex> lock(making_);
        return {model_.create_infer_request(), {}};
    }

    std::optional<Lane> take_idle() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return std::nullopt;
        std::optional<Lane> lane = std::move(free_.back());
        free_.pop_back();
        return lane;
    }

    void give_back(Lane lane) {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(lane));
    }

    ov::CompiledModel model_;
    bool is_dynamic_ = false;
    std::mutex making_, mutex_;
    std::vector<Lane> free_;
};

}  // namespace

std::unique_ptr<Runner> make_openvino_runner(const Bundle &bundle, const Graph &graph) {
    return std::make_unique<OpenVinoRunner>(bundle, graph);
}

}  // namespace apdepth::detail
