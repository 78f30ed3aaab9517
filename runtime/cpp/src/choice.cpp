#include "choice.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>

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
    const bool numbered = std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2;
    if (target != "tensorrt" || !numbered || major != 10) return {};
    if (3 <= minor && minor <= 7)
        return "TensorRT " + version +
               " gives wrong results for vision transformers: use 10.8 or later";
    if (minor <= 16 && capability == "12.0")
        return "TensorRT " + version +
               " can give wrong attention in fp16 and bf16 on compute capability 12.0: use 11 or "
               "later, or TensorRT for RTX";
    return {};
}

}  // namespace apdepth::detail
