#include "png.hpp"

#include <cstdlib>
#include <memory>

#include "metadata.hpp"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#define STBI_NO_STDIO
#include <stb_image.h>

namespace {

using Bytes = std::string_view;

constexpr Bytes kSignature("\x89PNG\r\n\x1a\n", 8);
constexpr std::size_t kPalette = 3 * 256;

struct Chunk {
    Bytes whole, type, data;
    bool intact;

    bool is_critical() const { return (type[0] & 32) == 0; }
};

std::uint32_t number(Bytes bytes) {
    std::uint32_t value = 0;
    for (const char byte : bytes.substr(0, 4))
        value = value << 8 | static_cast<unsigned char>(byte);
    return value;
}

// The PNG specification, annex D.
std::uint32_t checksum(Bytes bytes) {
    std::uint32_t crc = ~std::uint32_t{0};
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
    }
    return ~crc;
}

Chunk take_chunk(Bytes &rest) {
    if (rest.size() < 12 || rest.size() - 12 < number(rest)) throw Unreadable("truncated");
    const std::size_t size = number(rest);
    const Bytes whole = rest.substr(0, 12 + size), body = whole.substr(4, 4 + size);
    rest.remove_prefix(whole.size());
    return {whole, body.substr(0, 4), body.substr(4),
            checksum(body) == number(whole.substr(8 + size))};
}

// A palette with all its colours: stb takes what lies behind a shorter one for colours. As in
// Pillow those are black.
std::string whole_palette(const Chunk &chunk) {
    std::string colours(chunk.data.substr(0, kPalette));
    colours.resize(kPalette);
    return std::string("\0\0\3\0PLTE", 8) + colours + "none";  // stb looks at no checksum
}

// What the pixels are made of, without alpha and other extras; those go to `metadata`.
std::string pixel_chunks(Bytes bytes, Metadata &metadata) {
    std::string kept(kSignature);
    bytes.remove_prefix(kSignature.size());
    for (Bytes type; type != "IEND";) {
        const Chunk chunk = take_chunk(bytes);
        type = chunk.type;
        if (!chunk.is_critical()) {
            if (chunk.intact) metadata.add(chunk.type, chunk.data);
            continue;
        }
        if (!chunk.intact) throw Unreadable("damaged: a checksum is wrong");
        if (type == "PLTE") kept += whole_palette(chunk);
        else if (type == "IHDR" || type == "IDAT" || type == "IEND") kept += chunk.whole;
        else throw Unreadable("an unknown kind of PNG");
    }
    return kept;
}

template <class Value>
using Pixels = std::unique_ptr<Value, decltype(&std::free)>;

// Whatever it is, as 8-bit RGB: stb takes the upper byte of 16-bit colours, as Pillow does.
Image colours(const stbi_uc *bytes, int size) {
    int width = 0, height = 0, channels = 0;
    const Pixels<stbi_uc> found(
        stbi_load_from_memory(bytes, size, &width, &height, &channels, STBI_rgb), &std::free);
    if (!found) throw Unreadable(stbi_failure_reason());
    return {
        {found.get(), found.get() + 3 * std::size_t(width) * std::size_t(height)}, height, width};
}

// The value that is white in 16 bits. A PNG's 12 significant bits should be the upper ones; many
// infrared cameras leave them at the bottom, which the lowest bits show.
unsigned white_of(const stbi_us *values, std::size_t count, int significant_bits) {
    if (significant_bits < 1 || significant_bits > 15) return 65535;
    unsigned used = 0;
    for (std::size_t i = 0; i < count; ++i) used |= values[i];
    const bool at_the_bottom =
        used < 1U << significant_bits && used % (1U << (16 - significant_bits)) != 0;
    return at_the_bottom ? (1U << significant_bits) - 1 : 65535;
}

Image grey16(const stbi_uc *bytes, int size, int significant_bits) {
    int width = 0, height = 0, channels = 0;
    const Pixels<stbi_us> found(
        stbi_load_16_from_memory(bytes, size, &width, &height, &channels, STBI_grey), &std::free);
    if (!found) throw Unreadable(stbi_failure_reason());
    Image image{{}, height, width};
    const std::size_t count = std::size_t(width) * std::size_t(height);
    const unsigned white = white_of(found.get(), count, significant_bits);
    for (std::size_t i = 0; i < count; ++i)
        image.rgb.insert(image.rgb.end(), 3,
                         static_cast<std::uint8_t>(found.get()[i] * 255U / white));
    return image;
}

}  // namespace

bool is_png(Bytes bytes) { return bytes.substr(0, kSignature.size()) == kSignature; }

Image read_png(Bytes bytes) {
    Metadata metadata;
    const std::string chunks = pixel_chunks(bytes, metadata);
    if (chunks.size() > 0x7FFFFFFF) throw Unreadable("too large");
    const auto *data = reinterpret_cast<const stbi_uc *>(chunks.data());
    const int size = static_cast<int>(chunks.size());
    const bool is_grey16 = size > 25 && data[24] == 16 && data[25] == 0;  // of IHDR
    return upright(
        is_grey16 ? grey16(data, size, metadata.significant_bits()) : colours(data, size),
        metadata.orientation());
}

std::string inflated_raw(std::string_view bytes, std::size_t size) {
    constexpr std::size_t most = 0x7FFFFFFF;
    // stb reads ahead, and takes the stream for cut off where nothing follows.
    const std::string padded = std::string(bytes) + std::string(8, '\0');
    if (padded.size() > most || size > most) return {};
    std::string found(size, '\0');
    const int written = stbi_zlib_decode_noheader_buffer(
        found.data(), static_cast<int>(size), padded.data(), static_cast<int>(padded.size()));
    return written == static_cast<int>(size) ? found : std::string();
}

std::string inflated(std::string_view bytes) {
    int size = 0;
    const Pixels<char> found(
        stbi_zlib_decode_malloc(bytes.data(), static_cast<int>(bytes.size()), &size), &std::free);
    return found ? std::string(found.get(), static_cast<std::size_t>(size)) : std::string();
}
