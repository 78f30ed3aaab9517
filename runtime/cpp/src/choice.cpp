#include "choice.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <utility>

#include "python_text.hpp"

namespace apdepth::detail {
namespace {

using Engines = std::vector<Engine>;
using Words = std::vector<std::string>;

template <class Member>
std::string each(const Engines &engines, Member member) {
    Words words;
    for (const Engine &engine : engines) words.push_back(std::invoke(member, engine));
    return joined(words);
}

std::string names(const Engines &engines) { return each(engines, &Engine::label); }

Words capabilities(const Engines &engines) {
    Words all;
    for (const Engine &engine : engines)
        for (const std::string &one : engine.compute_capabilities)
            if (std::find(all.begin(), all.end(), one) == all.end()) all.push_back(one);
    return all;
}

// "8.6" -> "sm86".
std::string sm(std::string capability) {
    capability.erase(std::remove(capability.begin(), capability.end(), '.'), capability.end());
    return "sm" + capability;
}

// Reports of silently wrong results: the twin of machine/tensorrt.py's.
struct Wrong {
    std::pair<int, int> first, last;
    Words capabilities;
    const char *what, *source;
};

const std::vector<Wrong> kWrong = {
    {{10, 3},
     {10, 7},
     {},
     "vision transformers and plain attention",
     "NVIDIA/TensorRT#4723, #4742, #4419, #4333, #4328"},
    {{10, 0}, {10, 8}, {"8.9"}, "a U-Net, NaN", "NVIDIA/TensorRT#4351"},
    {{10, 13}, {10, 13}, {}, "group normalisation", "NVIDIA/TensorRT#4741"},
    {{10, 0},
     {10, 16},
     {"12.0"},
     "fused attention in half precision",
     "NVIDIA/TensorRT#4837, #4748, #4780"},
    {{10, 14},
     {11, 1},
     {"12.0"},
     "an encoder with attention, in fp32 too",
     "NVIDIA/TensorRT#4822"},
    {{10, 11},
     {11, 1},
     {"8.9", "12.0"},
     "a transformer for batches above 1, in every precision",
     "NVIDIA/TensorRT#4853"},
    {{11, 1}, {11, 1}, {"8.9", "12.0"}, "a transformer in fp32", "NVIDIA/TensorRT#4813"},
    {{11, 1}, {11, 2}, {}, "a cubic resize", "NVIDIA/TensorRT#4846"},
    {{11, 2},
     {11, 2},
     {},
     "a convolution with a residual from a concatenation, in fp16",
     "NVIDIA/TensorRT#4854"},
    {{11, 2},
     {11, 2},
     {},
     "what is scaled by its own minimum and maximum",
     "rerun-io/examples-monorepo#87, #88"},
};

// Whether TensorRT for RTX runs on GPUs of a compute capability: the twin of machine/gpus.py's.
bool rtx_supports(const std::string &capability) {
    static const Words before_12 = {"7.5", "8.0", "8.6", "8.9"};
    return std::find(before_12.begin(), before_12.end(), capability) != before_12.end() ||
           std::stoi(capability) >= 12;
}

// The command that makes a fitting engine for these GPUs.
std::string build_line(const Bundle &bundle, const std::string &target, const Words &gpus) {
    std::string line = "`apdepth-deploy build " + bundle.folder + " --target " + target;
    for (const std::string &gpu : gpus) line += " --gpu " + sm(gpu);
    return line + "`";
}

UnfitError no_gpu(const std::string &target) {
    return {target + " needs an NVIDIA GPU and its driver, and this machine has none",
            "use backend openvino, or auto"};
}

// One narrowing of the engines after the other, each with its reason.
class Narrowing {
  public:
    Narrowing(const Bundle &bundle, const std::string &target, Words gpus)
        : bundle_(bundle), target_(target), gpus_(std::move(gpus)) {
        for (const Engine &engine : bundle.engines)
            if (engine.target == target) engines.push_back(engine);
    }

    // `why` is called with the engines that were left, when none of them fits.
    template <class Fits, class Why>
    void keep(Fits fits, Why why) {
        Engines kept;
        std::copy_if(engines.begin(), engines.end(), std::back_inserter(kept), fits);
        if (kept.empty()) throw unfit(why(engines));
        engines = std::move(kept);
    }

    UnfitError unfit(const std::string &why) const { return {why, mend()}; }

    // For GPUs that TensorRT for RTX doesn't run on, that is standard TensorRT's.
    std::string mend() const {
        const bool runs = std::all_of(gpus_.begin(), gpus_.end(), rtx_supports);
        return build_line(bundle_, runs ? target_ : "tensorrt",
                          gpus_.empty() ? capabilities(engines) : gpus_);
    }

    Engines engines;

  private:
    const Bundle &bundle_;
    const std::string &target_;
    Words gpus_;
};

std::string required_version(const Machine &machine, const std::string &target) {
    const std::optional<std::string> version = machine.tensorrt_version(target);
    if (!version)
        throw BackendError(target +
                           " is not in this build of libapdepth: configure it with "
                           "-DAPDEPTH_TENSORRT=ON and the headers and library of " +
                           target);
    return *version;
}

void keep_fitting_software(Narrowing &all, const std::string &target, const std::string &version,
                           const std::string &platform) {
    all.keep([&](const Engine &engine) { return engine.version == version; },
             [&](const Engines &left) {
                 return names(left) + " was built by " + target + " " +
                        each(left, &Engine::version) + " and this is " + version;
             });
    all.keep([&](const Engine &engine) { return engine.platform == platform; },
             [&](const Engines &left) {
                 return names(left) + " was built for " + each(left, &Engine::platform) +
                        " and this is " + platform;
             });
}

void keep_fitting_gpu(Narrowing &all, const Gpu &gpu, int ordinal) {
    all.keep(
        [&](const Engine &engine) {
            const Words &known = engine.compute_capabilities;
            return std::find(known.begin(), known.end(), gpu.compute_capability) != known.end();
        },
        [&](const Engines &left) {
            return names(left) + " was built for compute capability " + joined(capabilities(left)) +
                   " and cuda:" + std::to_string(ordinal) + " (" + gpu.name + ") has " +
                   gpu.compute_capability;
        });
}

}  // namespace

Choice choose_engine(const Bundle &bundle, const std::string &target,
                     const std::optional<std::string> &precision, int ordinal,
                     const Machine &machine) {
    const std::vector<Gpu> &gpus = machine.gpus;
    const bool has_gpu = static_cast<std::size_t>(ordinal) < gpus.size();
    const Gpu gpu = has_gpu ? gpus[static_cast<std::size_t>(ordinal)] : Gpu{};
    Narrowing all(bundle, target, has_gpu ? Words{gpu.compute_capability} : Words{});
    if (gpus.empty() && (all.engines.empty() || !machine.tensorrt_version(target)))
        throw no_gpu(target);  // neither would help
    if (all.engines.empty()) throw all.unfit(bundle.folder + " has no " + target + " engine");
    const std::string version = required_version(machine, target);
    all.keep([&](const Engine &engine) { return !precision || engine.precision == *precision; },
             [&](const Engines &left) {
                 return "its " + target + " engines are " + each(left, &Engine::precision) +
                        ", not " + *precision;
             });
    keep_fitting_software(all, target, version, machine.platform);
    if (gpus.empty()) throw no_gpu(target);
    if (!has_gpu)
        throw UnfitError("there is no cuda:" + std::to_string(ordinal) + ", only " +
                             std::to_string(gpus.size()) + " NVIDIA GPU(s)",
                         "use device cuda");
    keep_fitting_gpu(all, gpu, ordinal);
    const std::string warning = known_bad(target, version, gpu.compute_capability);
    for (const char *preferred : {"fp16", "bf16", "fp32"})
        for (const Engine &engine : all.engines)
            if (engine.graph == "fused" && engine.precision == preferred)
                return {engine, gpu, ordinal, warning, all.mend()};
    throw all.unfit(names(all.engines) + ", which fit here, are no fused way from frame to depth");
}

void check_plan_hash(const Bundle &bundle, const Choice &choice) {
    try {
        bundle.check_hash(choice.engine.file);
    } catch (const BundleError &error) {
        throw BundleError(std::string(error.what()) + ". For the engine alone: " + choice.mend);
    }
}

std::string known_bad(const std::string &target, const std::string &version,
                      const std::string &capability) {
    int major = 0, minor = 0;
    if (target != "tensorrt" || std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2)
        return {};
    const std::pair<int, int> number{major, minor};
    std::string found;
    for (const Wrong &one : kWrong) {
        const Words &seen = one.capabilities;
        const bool here =
            seen.empty() || std::find(seen.begin(), seen.end(), capability) != seen.end();
        if (!here || number < one.first || one.last < number) continue;
        found += std::string(found.empty() ? "" : "; ") + one.what + " (" + one.source + ")";
    }
    if (found.empty()) return {};
    return "TensorRT " + version + " was reported to give wrong results: " + found +
           ". Verify here: `apdepth-deploy verify BUNDLE --backend tensorrt`";
}

}  // namespace apdepth::detail
