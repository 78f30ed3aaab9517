#include "python_text.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace apdepth::detail {
namespace {

constexpr std::size_t kMostCharacters = 60;
constexpr int kDeepest = 100;  // only the first 60 characters are ever shown

void append_value(std::string &out, const Json &value, int depth);

void append_escaped(std::string &out, unsigned char c) {
    constexpr char digits[] = "0123456789abcdef";
    switch (c) {
        case '\n': out += "\\n"; return;
        case '\r': out += "\\r"; return;
        case '\t': out += "\\t"; return;
        default:
            out += "\\x";
            out += digits[c >> 4];
            out += digits[c & 15];
    }
}

void append_list(std::string &out, const Json &list, int depth) {
    out += '[';
    for (const Json &item : list) {
        if (&item != &list.front()) out += ", ";
        append_value(out, item, depth + 1);
        if (out.size() > 4 * kMostCharacters) return;
    }
    out += ']';
}

void append_object(std::string &out, const Json &object, int depth) {
    out += '{';
    bool first = true;
    for (const auto &[key, item] : object.items()) {
        if (!first) out += ", ";
        first = false;
        out += repr(key) + ": ";
        append_value(out, item, depth + 1);
        if (out.size() > 4 * kMostCharacters) return;
    }
    out += '}';
}

void append_value(std::string &out, const Json &value, int depth) {
    if (depth > kDeepest) return;
    switch (value.type()) {
        case Json::value_t::null: out += "None"; return;
        case Json::value_t::boolean: out += value.get<bool>() ? "True" : "False"; return;
        case Json::value_t::string: out += repr(value.get_ref<const std::string &>()); return;
        case Json::value_t::array: append_list(out, value, depth); return;
        case Json::value_t::object: append_object(out, value, depth); return;
        default: out += value.dump();
    }
}

// The first 60 characters of UTF-8 text.
std::string cut(const std::string &text) {
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool starts = (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80;
        if (starts && ++characters > kMostCharacters) return text.substr(0, i);
    }
    return text;
}

}  // namespace

std::string repr(const std::string &text) {
    const bool has_single = text.find('\'') != std::string::npos;
    const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
    std::string out(1, quote);
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == quote || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            append_escaped(out, byte);
        } else {
            out += c;
        }
    }
    return out + quote;
}

std::string shortened(const Json &value) {
    if (value.is_string()) return repr(cut(value.get_ref<const std::string &>()));
    std::string text;
    append_value(text, value, 0);
    return repr(cut(text));
}

std::string repr(const std::vector<std::string> &texts) {
    std::string out;
    for (const std::string &text : texts) out += (out.empty() ? "" : ", ") + repr(text);
    return "[" + out + "]";
}

std::string joined(const std::vector<std::string> &texts) {
    std::vector<std::string> once;
    for (const std::string &text : texts)
        if (std::find(once.begin(), once.end(), text) == once.end()) once.push_back(text);
    std::string out;
    for (const std::string &text : once) out += (out.empty() ? "" : ", ") + text;
    return out;
}

std::string path_text(const std::string &text) {
    std::string out = !text.empty() && text.front() == '/' ? "/" : "";
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find('/', at), text.size());
        const std::string part = text.substr(at, end - at);
        if (!part.empty() && part != ".") {
            if (!out.empty() && out.back() != '/') out += '/';
            out += part;
        }
        at = end + 1;
    }
    return out.empty() ? "." : out;
}

}  // namespace apdepth::detail
