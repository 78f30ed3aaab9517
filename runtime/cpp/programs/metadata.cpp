#include "metadata.hpp"

#include <algorithm>
#include <cctype>
#include <optional>

#include "png.hpp"

namespace {

using Bytes = std::string_view;

constexpr int kUpright = 1;

// Up to the next zero byte, which goes, too.
Bytes take_word(Bytes &rest) {
    const Bytes word = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    return word;
}

// Numbers of a TIFF file, in its order of bytes; 0 behind its end.
struct Tiff {
    Bytes bytes;
    bool big_endian;

    std::size_t number(std::size_t at, std::size_t size) const {
        std::size_t value = 0;
        for (std::size_t i = 0; i < size; ++i) {
            const std::size_t from = big_endian ? at + i : at + size - 1 - i;
            value =
                value << 8 | (from < bytes.size() ? static_cast<unsigned char>(bytes[from]) : 0U);
        }
        return value;
    }
};

// EXIF 2.3: a TIFF file whose first directory has the tag 0x0112, a SHORT (or LONG).
std::optional<int> of_exif(Bytes exif) {
    constexpr Bytes kMarker("Exif\0\0", 6);
    while (exif.substr(0, kMarker.size()) == kMarker) exif.remove_prefix(kMarker.size());
    const Tiff tiff{exif, exif.substr(0, 2) == "MM"};
    if ((!tiff.big_endian && exif.substr(0, 2) != "II") || tiff.number(2, 2) != 42) return {};
    const std::size_t directory = tiff.number(4, 4), count = tiff.number(directory, 2);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t entry = directory + 2 + 12 * i, type = tiff.number(entry + 2, 2);
        if (tiff.number(entry, 2) != 0x0112 || (type != 3 && type != 4)) continue;
        return static_cast<int>(tiff.number(entry + 8, type == 3 ? 2 : 4));
    }
    return {};
}

// ImageMagick's text: three lines of heading, then EXIF in hexadecimal digits.
std::string from_hex(Bytes text) {
    for (int line = 0; line < 3; ++line)
        text.remove_prefix(std::min(text.size(), text.find('\n') + 1));
    std::string digits, bytes;
    for (const char c : text)
        if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits += c;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return bytes;
}

std::optional<int> of_xmp(Bytes xmp) {
    for (const Bytes start : {Bytes("tiff:Orientation=\""), Bytes("tiff:Orientation>")}) {
        const std::size_t at = xmp.find(start);
        if (at == Bytes::npos || at + start.size() >= xmp.size()) continue;
        const char digit = xmp[at + start.size()];
        if (std::isdigit(static_cast<unsigned char>(digit)) != 0) return digit - '0';
    }
    return {};
}

}  // namespace

void Metadata::add(Bytes type, Bytes data) {
    if (type == "eXIf") exif_ = data;
    if (type == "sBIT" && !data.empty()) significant_bits_ = static_cast<unsigned char>(data[0]);
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") add_text(type, data);
}

void Metadata::add_text(Bytes type, Bytes data) {
    const Bytes keyword = take_word(data);
    const bool is_exif = keyword == "Raw profile type exif",
               is_xmp = keyword == "XML:com.adobe.xmp";
    if (!is_exif && !is_xmp) return;
    bool compressed = type == "zTXt";
    if (type == "iTXt") {
        compressed = data.substr(0, 1) == "\1";
        data.remove_prefix(std::min<std::size_t>(data.size(), 2));
        take_word(data);  // the language
        take_word(data);  // the keyword in it
    } else if (compressed) {
        data.remove_prefix(std::min<std::size_t>(data.size(), 1));  // the method: zlib
    }
    (is_exif ? exif_in_hex_ : xmp_) = compressed ? inflated(data) : std::string(data);
}

int Metadata::orientation() const {
    auto found = of_exif(exif_.empty() ? from_hex(exif_in_hex_) : exif_);
    if (!found) found = of_xmp(xmp_);
    return found.value_or(kUpright);
}

Image upright(Image image, int orientation) {
    if (orientation <= kUpright || orientation > 8) return image;
    const bool lies = orientation >= 5;  // rows were columns
    const bool from_below =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const bool from_right =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const int height = lies ? image.width : image.height, width = lies ? image.height : image.width;
    Image turned{{}, height, width};
    turned.rgb.reserve(image.rgb.size());
    for (int y = 0; y < height; ++y)
        for (int x = 0; x < width; ++x) {
            const int down = lies ? x : y, right = lies ? y : x;
            const int row = from_below ? image.height - 1 - down : down;
            const int column = from_right ? image.width - 1 - right : right;
            const auto pixel = image.rgb.begin() + 3 * (std::ptrdiff_t{row} * image.width + column);
            turned.rgb.insert(turned.rgb.end(), pixel, pixel + 3);
        }
    return turned;
}
