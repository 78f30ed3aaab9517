// What manifest.json must look like: apdepth_deploy/bundle/manifest.py, rule by rule and word by word.
// A change there needs one here; tests/runtime/cpp holds both against the same broken manifests.
#pragma once

#include "python_text.hpp"

namespace apdepth::detail {

// Throws BundleError naming the rule that a manifest breaks; reads no file.
void check_manifest(const Json &manifest);

}  // namespace apdepth::detail
