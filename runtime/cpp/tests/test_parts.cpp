// Parts that the library hides: hashes, Python's way to print, the choice of an engine.
#include <algorithm>
#include <optional>

#include "check.hpp"
#include "choice.hpp"
#include "error.hpp"
#include "python_text.hpp"
#include "sha256.hpp"

using namespace apdepth::detail;

namespace {

std::string hash(const std::string &text, std::size_t part) {
    Sha256 sha;
    for (std::size_t at = 0; at < text.size(); at += part)
        sha.update(text.data() + at, std::min(part, text.size() - at));
    return to_hex(sha.finish());
}

// The examples of FIPS 180-4, and lengths around a block's end (by Python's hashlib).
void hashes_are_the_standards() {
    CHECK(hash("", 1) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hash("abc", 1) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 64) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    for (const std::size_t part : {1U, 63U, 64U, 65U, 1000U})
        CHECK(hash(std::string(1000000, 'a'), part) ==
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    CHECK(hash(std::string(55, 'a'), 7) ==
          "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    CHECK(hash(std::string(56, 'a'), 7) ==
          "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    CHECK(hash(std::string(64, 'a'), 7) ==
          "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

void names_are_printed_as_python_does() {
    CHECK(repr("it") == "'it'" && repr("it's") == "\"it's\"" && repr("'\"") == "'\\'\"'");
    CHECK(repr("a\n\t\x01\\") == "'a\\n\\t\\x01\\\\'");
    CHECK(repr(std::vector<std::string>{"a", "b"}) == "['a', 'b']");
    CHECK(path_text("a//b/./c/") == "a/b/c" && path_text("./") == "." && path_text("/") == "/");
    CHECK(path_text("/a/../b") == "/a/../b" && path_text("") == ".");
}

Engine engine(const std::string &precision, const std::string &capability) {
    Engine made{};
    made.graph = "fused", made.precision = precision, made.target = "tensorrt-rtx";
    made.version = "1.7.1.116", made.platform = "linux-x86_64";
    made.compute_capabilities = {capability};
    return made;
}

Machine machine(std::vector<Gpu> gpus, const char *version = "1.7.1.116") {
    return {std::move(gpus), "linux-x86_64", [version](const std::string &target) {
                return target == "tensorrt-rtx" && version != nullptr
                           ? std::optional<std::string>(version)
                           : std::nullopt;
            }};
}

std::string refusal(const Bundle &bundle, const Machine &here, int ordinal = 0,
                    const std::optional<std::string> &precision = std::nullopt) {
    try {
        choose_engine(bundle, "tensorrt-rtx", precision, ordinal, here);
    } catch (const BackendError &error) {
        return error.what();
    }
    return "chosen";
}

void an_engine_is_chosen_or_refused_in_words() {
    const Gpu ada{"NVIDIA Test GPU", "8.9"};
    Bundle bundle;
    bundle.folder = "robot";
    CHECK_TEXT(refusal(bundle, machine({})),
               "needs an NVIDIA GPU and its driver, and this machine has none");
    CHECK_TEXT(refusal(bundle, machine({ada})),
               "robot has no tensorrt-rtx engine: `apdepth-deploy "
               "build robot --target tensorrt-rtx --gpu sm89`");
    bundle.engines = {engine("fp32", "8.9"), engine("fp16", "8.6")};
    CHECK_TEXT(refusal(bundle, machine({ada}, nullptr)), "is not in this build of libapdepth");
    CHECK_TEXT(refusal(bundle, machine({ada}, "1.6")),
               "fused.fp32, fused.fp16 was built by "
               "tensorrt-rtx 1.7.1.116 and this is 1.6");
    CHECK_TEXT(refusal(bundle, machine({ada}), 1), "there is no cuda:1, only 1 NVIDIA GPU(s)");
    CHECK_TEXT(refusal(bundle, machine({{"Old", "7.5"}})),
               "was built for compute capability 8.9, 8.6 and cuda:0 (Old) has 7.5: "
               "`apdepth-deploy build robot --target tensorrt-rtx --gpu sm75`");
    CHECK_TEXT(refusal(bundle, machine({ada}), 0, "bf16"), "engines are fp32, fp16, not bf16");
    CHECK_TEXT(refusal(bundle, machine({})), "this machine has none");
    CHECK(choose_engine(bundle, "tensorrt-rtx", {}, 0, machine({ada})).engine.precision == "fp32");
    bundle.engines.push_back(engine("fp16", "8.9"));
    CHECK(choose_engine(bundle, "tensorrt-rtx", {}, 0, machine({ada})).engine.precision == "fp16");
    bundle.engines.back().platform = "linux-aarch64";
    CHECK_TEXT(refusal(bundle, machine({{"Ampere", "8.0"}}), 0, "fp16"), "(Ampere) has 8.0");
    bundle.engines = {bundle.engines.back()};
    CHECK_TEXT(refusal(bundle, machine({ada})), "built for linux-aarch64 and this is linux-x86_64");
    bundle.engines = {engine("fp16", "8.9")};
    bundle.engines[0].graph = "unet";
    CHECK_TEXT(refusal(bundle, machine({ada})), "unet.fp16, which fit here, are no fused way");
}

void known_faults_are_told() {
    CHECK_TEXT(known_bad("tensorrt", "10.5.0", "8.6"),
               "TensorRT 10.5.0 was reported to give wrong results: vision transformers and plain "
               "attention (NVIDIA/TensorRT#4723, #4742, #4419, #4333, #4328). Verify here: "
               "`apdepth-deploy verify BUNDLE --backend tensorrt`");
    CHECK_TEXT(known_bad("tensorrt", "10.5.0", "8.9"), "#4328); a U-Net, NaN (");
    CHECK(known_bad("tensorrt", "10.16.1", "8.6").empty());
    CHECK(known_bad("tensorrt", "11.3.0", "12.0").empty());
    CHECK(known_bad("tensorrt-rtx", "1.7.1", "12.0").empty());
}

}  // namespace

int main() {
    hashes_are_the_standards();
    names_are_printed_as_python_does();
    an_engine_is_chosen_or_refused_in_words();
    known_faults_are_told();
}
