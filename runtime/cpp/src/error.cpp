#include "error.hpp"

namespace apdepth::detail {

std::string one_line(const std::string &message) {
    std::string line;
    bool gap = false;
    for (const char c : message) {
        const bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
        if (!space && gap && !line.empty()) line += ' ';
        if (!space) line += c;
        gap = space;
    }
    return line.substr(0, 300);
}

}  // namespace apdepth::detail
