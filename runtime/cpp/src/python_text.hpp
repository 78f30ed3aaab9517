// JSON values and names as Python prints them, so that a message about a manifest is the same in
// both languages. tests/runtime/cpp compares them.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace apdepth::detail {

// Keeps the order of the file: which fault is found first depends on it.
using Json = nlohmann::ordered_json;

// repr() of a str: quoted, with escapes.
std::string repr(const std::string &text);

// str() of what json.loads gives for `value`, cut after 60 characters, as a quoted repr().
std::string shortened(const Json &value);

// repr() of a list of str.
std::string repr(const std::vector<std::string> &texts);

// ", ".join of the texts, each once.
std::string joined(const std::vector<std::string> &texts);

// str(pathlib.Path(text)): no doubled or trailing slashes, no "." parts.
std::string path_text(const std::string &text);

}  // namespace apdepth::detail
