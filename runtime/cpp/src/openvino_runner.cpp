#include "openvino_runner.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <openvino/openvino.hpp>

#include "error.hpp"
#include "openvino_cache.hpp"

namespace apdepth::detail {
namespace {

// One caller's working memory at a time.
struct Lane {
    ov::InferRequest request;
    std::vector<std::uint8_t> frames;  // for frames with gaps, and for copies
};

ov::Dimension dimension(const apdepth_range &axis) { return {axis.min, axis.max}; }

// Where the frames' size varies OpenVINO keeps so many prepared kernels, and by default 5,000: they
// took 660 MB after 60 sizes instead of 290. One size needs some hundred at most.
constexpr int kKernels = 300;

bool is_range(const apdepth_range &axis) { return axis.min < axis.max; }

// Those of Python: what is kept is named by them. Left alone, OpenVINO computes in bfloat16 wherever
// the processor can.
nlohmann::json settings(const Graph &graph, const Tuning &tuning) {
    nlohmann::json found = {{"PERFORMANCE_HINT", tuning.throughput ? "THROUGHPUT" : "LATENCY"},
                            {"INFERENCE_PRECISION_HINT", tuning.bf16 ? "bf16" : "f32"}};
    if (tuning.threads > 0) found["INFERENCE_NUM_THREADS"] = tuning.threads;
    if (is_range(graph.frame.height) || is_range(graph.frame.width))
        found["CPU_RUNTIME_CACHE_CAPACITY"] = kKernels;
    return found;
}

ov::CompiledModel compile(const Bundle &bundle, const Graph &graph, const Tuning &tuning,
                          const Log &log, std::string &trouble) {
    const auto absolute = [&](const std::string &file) {
        return std::filesystem::canonical(bundle.path(file)).string();
    };
    try {
        const Job job = {absolute(graph.file),
                         absolute(graph.data),
                         {bundle.hashes.at(graph.file), bundle.hashes.at(graph.data)},
                         tuning.check_hashes,
                         settings(graph, tuning)};
        return compiled(job, log, trouble);
    } catch (const Error &) {
        throw;
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
    OpenVinoRunner(const Bundle &bundle, const Graph &graph, const Tuning &tuning, const Log &log)
        : model_(compile(bundle, graph, tuning, log, warning)) {
        if (!warning.empty())
            warning = "OpenVINO compiles again at every start, for nothing can be kept: " + warning;
        backend = "openvino";
        device = "cpu";
        precision = tuning.bf16 ? "bf16" : graph.precision;
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

    void make_lanes(int lanes) override {
        for (int made = 1; made < lanes; ++made) give_back({model_.create_infer_request(), {}});
    }

    void infer_async(const DeviceFrames &) override {
        throw UsageError(
            "openvino takes host arrays only: call apdepth_infer, or build an engine "
            "and open it with backend tensorrt-rtx or tensorrt");
    }

  private:
    void run(Lane &lane, const Frame &image, float *depth) {
        const int run = batch_for(image.count);
        const auto batch = static_cast<std::size_t>(run);
        const auto height = static_cast<std::size_t>(image.height);
        const auto width = static_cast<std::size_t>(image.width);
        const ov::Shape frames = {batch, height, width, 3}, depths = {batch, height, width};
        lane.request.set_input_tensor(ov::Tensor(ov::element::u8, frames, input(lane, image, run)));
        const bool direct = run == image.count && !is_dynamic_;
        if (direct) lane.request.set_output_tensor(ov::Tensor(ov::element::f32, depths, depth));
        lane.request.infer();
        if (direct) return;
        const ov::Tensor found = lane.request.get_output_tensor();
        if (found.get_shape() != depths) throw BackendError("OpenVINO gave depth of another size");
        const auto count = static_cast<std::size_t>(image.count);
        std::memcpy(depth, found.data<float>(), count * image.pixels() * sizeof *depth);
    }

    // The frames where they lie, or copied together. OpenVINO only reads them.
    static std::uint8_t *input(Lane &lane, const Frame &image, int batch) {
        if (batch == image.count && !image.has_gaps()) return const_cast<std::uint8_t *>(image.rgb);
        lane.frames.resize(static_cast<std::size_t>(batch) * 3 * image.pixels());
        copy_frames(image, batch, lane.frames.data());
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

bool openvino_has_bf16() {
    try {
        const auto able = core().get_property("CPU", ov::device::capabilities);
        return std::find(able.begin(), able.end(), "BF16") != able.end();
    } catch (const ov::Exception &error) {  // its plugin for the CPU isn't there
        throw BackendError("OpenVINO has no CPU here: " + one_line(error.what()));
    }
}

std::unique_ptr<Runner> make_openvino_runner(const Bundle &bundle, const Graph &graph,
                                             const Tuning &tuning, const Log &log) {
    return std::make_unique<OpenVinoRunner>(bundle, graph, tuning, log);
}

}  // namespace apdepth::detail
