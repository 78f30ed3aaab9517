// Bundles that are whole open, and everything else is refused by name.
#include <cstring>
#include <random>
#include <thread>

#include "apdepth.h"
#include "bundles.hpp"
#include "check.hpp"

namespace {

namespace fs = std::filesystem;

constexpr const char *kGraph = "onnx/fused.fp32.onnx";

apdepth_status open(const std::string &bundle, bool hashes = true) {
    apdepth_options options;
    std::memset(&options, 0, sizeof options);  // as C programs make them
    options.skip_hashes = hashes ? 0 : 1;
    apdepth_handle *model = nullptr;
    const apdepth_status status = apdepth_open(bundle.c_str(), &options, &model);
    CHECK((status == APDEPTH_OK) == (model != nullptr));
    apdepth_close(model);
    return status;
}

void files_are_compared() {
    const BrokenBundle bundle("files");
    CHECK(open(bundle.path() + "//./") == APDEPTH_OK);
    const std::string graph = bundle.read(kGraph);
    std::string other = graph;
    other[other.size() / 2] ^= 1;
    bundle.write(kGraph, other);
    CHECK_FAILS(
        open(bundle.path()), APDEPTH_BUNDLE_ERROR,
        bundle.path() + "/onnx/fused.fp32.onnx is damaged: its SHA-256 is not the manifest's");
    bundle.write(kGraph, graph + "x");
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "bytes, the manifest says");
    fs::remove(bundle.file(kGraph));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "is missing from the bundle");
    fs::create_directory(bundle.file(kGraph));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "is missing from the bundle");
}

void hashes_may_be_left_out() {
    const BrokenBundle bundle("hashes");
    const std::string text = bundle.read("manifest.json");
    const std::size_t at = text.find("\"sha256\": \"") + 11;
    bundle.edit(text.substr(at, 64), std::string(64, '0'));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "its SHA-256 is not the manifest's");
    CHECK(open(bundle.path(), false) == APDEPTH_OK);
}

void paths_do_not_leave() {
    for (const char *name :
         {"../x", "/etc/hostname", "onnx/../../x", "..\\\\x", "", ".", "onnx/.."}) {
        const BrokenBundle bundle("paths");
        bundle.edit("\"files\": {",
                    std::string("\"files\": {\"") + name + "\": {\"size\": 0, \"sha256\": \"\"},");
        CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "a path that leaves the bundle");
    }
    const BrokenBundle bundle("null");
    bundle.edit("onnx/fused.fp32.data", "onnx/fused.fp32.onnx\\u0000");
    CHECK(open(bundle.path()) == APDEPTH_BUNDLE_ERROR);
}

void links_stay_inside() {
    const BrokenBundle bundle("links");
    fs::rename(bundle.file(kGraph), bundle.file("graph"));
    fs::create_symlink("../graph", bundle.file(kGraph));
    CHECK(open(bundle.path()) == APDEPTH_OK);
    const BrokenBundle other("links-target");
    fs::remove(bundle.file(kGraph));
    fs::create_symlink(other.file(kGraph), bundle.file(kGraph));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "is a link that leaves the bundle");
    fs::remove(bundle.file(kGraph));
    fs::create_symlink("fused.fp32.onnx", bundle.file(kGraph));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "is missing from the bundle");
}

void manifests_of_another_kind() {
    const BrokenBundle bundle("manifests");
    const auto refused = [&](const std::string &text, const char *why) {
        bundle.write("manifest.json", text);
        CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, why);
    };
    refused("", "manifest.json can't be read: ");
    refused("\xff\xfe", "can't be read");
    refused(std::string(1000000, '['), "can't be read: it is nested more than 64 deep");
    refused("[]", "it has schema_version 'None' and this program reads 1");
    refused("{\"schema_version\": true}", "schema_version 'True'");
    refused("{\"schema_version\": 2}", "schema_version '2'");
    refused("{\"schema_version\": 1}", "'created' of the manifest is missing");
    fs::remove(bundle.file("manifest.json"));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "is no bundle: it has no manifest.json");
    CHECK_FAILS(open(""), APDEPTH_USAGE_ERROR, "bundle is an empty path");
    fs::create_directory(bundle.file("manifest.json"));
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "[Errno 21] Is a directory");
}

void graphs_that_are_not_the_manifests() {
    const BrokenBundle bundle("sizes");
    bundle.edit("\"height\": 16", "\"height\": 32");
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "and the manifest says");
    bundle.edit("\"height\": 32", "\"height\": 2147483648");
    CHECK_FAILS(open(bundle.path()), APDEPTH_BUNDLE_ERROR, "'height' of graphs[0] is '2147483648'");
    const BrokenBundle damaged("damaged");
    damaged.write(kGraph, std::string(damaged.read(kGraph).size(), '\xff'));
    CHECK_FAILS(open(damaged.path(), false), APDEPTH_BUNDLE_ERROR, "OpenVINO can't load it");
}

// Mutations under the sanitizers' eyes; tests/runtime/cpp compares many more with Python.
void flipped_bytes_never_crash() {
    const BrokenBundle bundle("flips");
    const std::string whole = bundle.read("manifest.json");
    std::mt19937 random(1);
    for (int round = 0; round < 500; ++round) {
        std::string text = whole;
        for (auto flips = 1 + random() % 3; flips > 0; --flips)
            text[random() % text.size()] = static_cast<char>(random() % 256);
        if (random() % 8 == 0) text.resize(random() % text.size());
        bundle.write("manifest.json", text);
        CHECK(open(bundle.path()) != APDEPTH_INTERNAL_ERROR);
    }
}

void errors_belong_to_their_thread() {
    CHECK(open("here") == APDEPTH_BUNDLE_ERROR);
    std::thread([] {
        CHECK(std::string(apdepth_last_error()).empty());
        CHECK_FAILS(open("there"), APDEPTH_BUNDLE_ERROR, "there is no bundle");
    }).join();
    CHECK_TEXT(apdepth_last_error(), "here is no bundle");
}

}  // namespace

int main() {
    files_are_compared();
    hashes_may_be_left_out();
    paths_do_not_leave();
    links_stay_inside();
    manifests_of_another_kind();
    graphs_that_are_not_the_manifests();
    flipped_bytes_never_crash();
    errors_belong_to_their_thread();
}
