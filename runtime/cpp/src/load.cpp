#include "load.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "choice.hpp"
#include "error.hpp"
#include "machine.hpp"
#include "python_text.hpp"

#ifdef APDEPTH_WITH_OPENVINO
#include "openvino_runner.hpp"
#endif
#ifdef APDEPTH_WITH_TENSORRT
#include "tensorrt/runner.hpp"
#include "tensorrt/version.hpp"
#endif

namespace apdepth::detail {
namespace {

using Words = std::vector<std::string>;

const Words kTargets = {"tensorrt-rtx", "tensorrt"};
const Words kBackends = {"auto", "openvino", "tensorrt-rtx", "tensorrt"};
const Words kPrecisions = {"fp32", "fp16", "bf16"};
const Words kHints = {"latency", "throughput"};
// The most that `threads` may be, for each core that this process may use.
constexpr int kThreadsPerCore = 4;
constexpr int kMostLanes = 256;
// What a CPU runs best, best first.
const Words kPreferred = {"fp32", "fp16"};

bool has(const Words &words, const std::string &word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

// The ordinal of "cuda" or "cuda:N"; nothing for other words.
std::optional<int> cuda_ordinal(const std::string &device) {
    if (device == "cuda") return 0;
    if (device.rfind("cuda:", 0) != 0) return std::nullopt;
    const std::string number = device.substr(5);
    const bool digits = number.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || number.empty() || number.size() > 4) return std::nullopt;
    return std::stoi(number);
}

bool is_in_this_build(const std::string &target) {
#ifdef APDEPTH_WITH_TENSORRT
    return target == tensorrt::kTarget;
#else
    static_cast<void>(target);
    return false;
#endif
}

void check_names(const Wanted &wanted) {
    if (!has(kBackends, wanted.backend))
        throw UsageError("unknown backend " + repr(wanted.backend) + ": choose one of " +
                         joined(kBackends));
    if (wanted.device != "auto" && wanted.device != "cpu" && !cuda_ordinal(wanted.device))
        throw UsageError("unknown device " + repr(wanted.device) +
                         ": choose one of auto, cpu, cuda, cuda:N");
    if (wanted.precision && !has(kPrecisions, *wanted.precision))
        throw UsageError("unknown precision " + repr(*wanted.precision) + ": choose one of " +
                         joined(kPrecisions));
    if (!has(kHints, wanted.hint))
        throw UsageError("unknown hint " + repr(wanted.hint) + ": choose one of " + joined(kHints));
}

// More threads than this gain nothing, and thousands stop a machine.
void check_numbers(const Wanted &wanted) {
    const int cores = usable_cores(), most = kThreadsPerCore * cores;
    if (wanted.threads < 0 || wanted.threads > most)
        throw UsageError("threads must be 1 to " + std::to_string(most) + " on " +
                         std::to_string(cores) + " cores, not " + std::to_string(wanted.threads));
    const bool is_tuned = wanted.threads != 0 || wanted.hint != "latency";
    if (is_tuned && has(kTargets, wanted.backend))
        throw UsageError("threads and hint are for openvino, not for " + wanted.backend);
    if (wanted.lanes < 1 || wanted.lanes > kMostLanes)
        throw UsageError("lanes must be 1 to " + std::to_string(kMostLanes) + ", not " +
                         std::to_string(wanted.lanes));
}

std::unique_ptr<Runner> load_engine(const Bundle &bundle, const std::string &target,
                                    const Wanted &wanted, const Machine &machine) {
    if (wanted.device == "cpu")
        throw UsageError(target + " runs on NVIDIA GPUs, not on cpu: use backend openvino");
    const int ordinal = cuda_ordinal(wanted.device).value_or(0);
    const Choice choice = choose_engine(bundle, target, wanted.precision, ordinal, machine);
    if (wanted.check_hashes) check_plan_hash(bundle, choice);
#ifdef APDEPTH_WITH_TENSORRT
    return tensorrt::make_runner(bundle, choice);
#else
    throw BackendError(target + " is not in this build of libapdepth");
#endif
}

// The fused graph to run on a CPU: its favourite precision of what is there.
const Graph &choose_graph(const Bundle &bundle, const std::optional<std::string> &precision) {
    const Words precisions = precision ? Words{*precision} : kPreferred;
    for (const std::string &choice : precisions)
        if (const Graph *graph = bundle.find_graph("fused", choice)) return *graph;
    Words there;
    for (const Graph &graph : bundle.graphs) there.push_back(graph.kind() + " " + graph.precision);
    std::string needed;
    for (const std::string &one : precisions) needed += (needed.empty() ? "" : " or ") + one;
    throw BackendError("the bundle has " + (there.empty() ? "no graphs" : joined(there)) +
                       "; OpenVINO on cpu needs " + needed + " fused: export with --precision " +
                       precisions.front() + " --graph fused");
}

std::unique_ptr<Runner> load_openvino(const Bundle &bundle, const Wanted &wanted,
                                      const std::string &why) {
    if (cuda_ordinal(wanted.device))
        throw UsageError("openvino runs on the CPU, not on " + wanted.device +
                         ": use backend tensorrt-rtx or tensorrt, or device auto");
#ifdef APDEPTH_WITH_OPENVINO
    // bfloat16 is no graph's precision but the processor's.
    const bool bf16 = wanted.precision == "bf16", has_bf16 = openvino_has_bf16();
    if (bf16 && !has_bf16) throw BackendError("this processor has no bfloat16: use precision fp32");
    const Graph &graph = choose_graph(bundle, bf16 ? std::nullopt : wanted.precision);
    if (wanted.check_hashes)
        for (const std::string &file : {graph.file, graph.data}) bundle.check_hash(file);
    const Tuning tuning = {wanted.threads, wanted.hint == "throughput", bf16, wanted.check_hashes};
    auto runner = make_openvino_runner(bundle, graph, tuning, wanted.log);
    runner->reason = "openvino on cpu, " + graph.precision + " fused graph computed in " +
                     (bf16 ? "bf16" : "fp32") + ": " + why +
                     (has_bf16 && !bf16 ? "; bf16 would be faster here" : "");
    return runner;
#else
    static_cast<void>(choose_graph(bundle, wanted.precision));
    throw BackendError(
        "openvino is not in this build of libapdepth: configure it with "
        "-DAPDEPTH_OPENVINO=ON");
#endif
}

// The backends that could run an engine of this bundle here, best first: all of them where a GPU
// was asked for.
Words targets_to_try(const Bundle &bundle, const Wanted &wanted) {
    if (wanted.device == "cpu") return {};
    Words targets;
    for (const std::string &target : kTargets) {
        const bool built = std::any_of(bundle.engines.begin(), bundle.engines.end(),
                                       [&](const Engine &one) { return one.target == target; });
        if (cuda_ordinal(wanted.device) || (built && is_in_this_build(target)))
            targets.push_back(target);
    }
    return targets;
}

// Whether the NVIDIA driver must be asked: starting it takes time, and forbids forking.
bool needs_driver(const Bundle &bundle, const Wanted &wanted) {
    if (wanted.backend == "openvino" || wanted.device == "cpu") return false;
    return wanted.backend != "auto" || !targets_to_try(bundle, wanted).empty();
}

// Why no engine of the bundle runs, where none was tried.
std::string untried(const Bundle &bundle) {
    if (bundle.engines.empty()) return "the bundle has no TensorRT engine";
    Words targets;
    for (const Engine &engine : bundle.engines) targets.push_back(engine.target);
    return joined(targets) + " is not in this build of libapdepth";
}

// An engine where one fits, else OpenVINO.
std::unique_ptr<Runner> load_any(const Bundle &bundle, const Wanted &wanted,
                                 const Machine &machine) {
    if (wanted.device == "cpu") return load_openvino(bundle, wanted, "as asked");
    if (cuda_ordinal(wanted.device) && machine.gpus.empty())
        throw BackendError(wanted.device +
                           " needs an NVIDIA GPU and its driver, and this machine has none: use "
                           "device cpu");
    Words reasons;
    for (const std::string &target : targets_to_try(bundle, wanted)) {
        std::string why;
        try {
            return load_engine(bundle, target, wanted, machine);
        } catch (const UnfitError &error) {
            why = error.why;
        } catch (const BackendError &error) {
            why = error.what();
        }
        const bool says_whose = why.find(target) != std::string::npos;
        reasons.push_back(says_whose ? why : "not " + target + ": " + why);
    }
    std::string why = reasons.empty() ? untried(bundle) : reasons.front();
    for (std::size_t i = 1; i < reasons.size(); ++i) why += "; " + reasons[i];
    if (cuda_ordinal(wanted.device))
        throw BackendError("no TensorRT engine runs on " + wanted.device + ": " + why);
    try {
        return load_openvino(bundle, wanted, why);
    } catch (const BackendError &error) {
        throw BackendError(error.what() + (bundle.engines.empty() ? "" : "; " + why));
    }
}

}  // namespace

std::unique_ptr<Runner> load(const Bundle &bundle, const Wanted &wanted) {
    check_names(wanted);
    check_numbers(wanted);
    const Machine machine = this_machine(needs_driver(bundle, wanted));
    std::unique_ptr<Runner> runner;
    if (wanted.backend == "auto") runner = load_any(bundle, wanted, machine);
    else if (wanted.backend == "openvino") runner = load_openvino(bundle, wanted, "as asked");
    else runner = load_engine(bundle, wanted.backend, wanted, machine);
    runner->stride = bundle.stride;
    runner->make_lanes(wanted.lanes);
    wanted.log.info(runner->reason);
    if (!runner->warning.empty()) wanted.log.warn(runner->warning);
    return runner;
}

}  // namespace apdepth::detail
