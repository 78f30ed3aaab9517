#include "npz.hpp"

#include <cstdint>
#include <stdexcept>
#include <string_view>

#include "png.hpp"

namespace {

using Bytes = std::string_view;

struct Damaged : std::runtime_error {
    Damaged() : std::runtime_error("no whole .npz") {}
};

Bytes part(Bytes bytes, std::size_t at, std::size_t size) {
    if (at > bytes.size() || size > bytes.size() - at) throw Damaged();
    return bytes.substr(at, size);
}

std::size_t number(Bytes bytes, std::size_t at, std::size_t size) {
    const Bytes field = part(bytes, at, size);
    std::size_t value = 0;
    for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(field[i]);
    return value;
}

// Of the central directory's fields (PKWARE's APPNOTE, 4.3.12).
struct Entry {
    std::string name;
    std::size_t method, packed, size, offset, next;

    Entry(Bytes bytes, std::size_t at)
        : method(number(bytes, at + 10, 2)),
          packed(number(bytes, at + 20, 4)),
          size(number(bytes, at + 24, 4)),
          offset(number(bytes, at + 42, 4)) {
        if (part(bytes, at, 4) != "PK\1\2") throw Damaged();
        const std::size_t named = number(bytes, at + 28, 2);
        name = part(bytes, at + 46, named);
        next = at + 46 + named + number(bytes, at + 30, 2) + number(bytes, at + 32, 2);
    }

    std::string content(Bytes bytes) const {
        if (part(bytes, offset, 4) != "PK\3\4") throw Damaged();
        const std::size_t names = number(bytes, offset + 26, 2) + number(bytes, offset + 28, 2);
        const Bytes data = part(bytes, offset + 30 + names, packed);
        if (method == 0) return std::string(data);
        std::string found = method == 8 ? inflated_raw(data, size) : "";
        if (found.size() != size) throw Damaged();
        return found;
    }
};

std::size_t directory_end(Bytes bytes) {
    const std::size_t at = bytes.rfind("PK\5\6");
    if (at == Bytes::npos) throw Damaged();
    return at;
}

// What stands behind a key of an .npy's heading, a Python dict, up to `end`.
Bytes value_of(Bytes heading, Bytes key, char end) {
    const std::size_t at = heading.find(key);
    if (at == Bytes::npos) throw Damaged();
    const Bytes rest = heading.substr(at + key.size());
    return rest.substr(0, rest.find(end));
}

Array read_npy(const std::string &bytes) {
    if (part(bytes, 0, 6) != "\x93NUMPY") throw Damaged();
    const std::size_t width = part(bytes, 6, 1) == "\1" ? 2 : 4;
    const std::size_t length = number(bytes, 8, width), start = 8 + width + length;
    const Bytes heading = part(bytes, 8 + width, length);
    if (value_of(heading, "'fortran_order': ", ',') != "False") throw Damaged();
    Array array{std::string(value_of(heading, "'descr': '", '\'')), {}, bytes.substr(start)};
    std::string digits;
    for (const char c : std::string(value_of(heading, "'shape': (", ')')) + ",") {
        if ('0' <= c && c <= '9') digits += c;
        else if (!digits.empty()) {
            if (digits.size() > 9) throw Damaged();
            array.shape.push_back(std::stoul(digits));
            digits.clear();
        }
    }
    return array;
}

}  // namespace

std::map<std::string, Array> read_npz(const std::string &bytes, std::size_t most) {
    const std::size_t end = directory_end(bytes);
    std::size_t at = number(bytes, end + 16, 4), total = 0;
    std::map<std::string, Array> arrays;
    for (std::size_t left = number(bytes, end + 10, 2); left > 0; --left) {
        const Entry entry(bytes, at);
        total += entry.size;
        if (total > most || entry.name.size() < 4) throw Damaged();
        arrays[entry.name.substr(0, entry.name.size() - 4)] = read_npy(entry.content(bytes));
        at = entry.next;
    }
    return arrays;
}
