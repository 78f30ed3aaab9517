#include "image.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "png.hpp"

namespace {

std::string read_file(const std::string &path) {
    std::FILE *file = std::fopen(path.c_str(), "rb");
    std::string bytes;
    std::array<char, 1 << 16> part;
    bool read = file != nullptr;
    while (read && std::feof(file) == 0 && std::ferror(file) == 0)
        bytes.append(part.data(), std::fread(part.data(), 1, part.size(), file));
    read = read && std::ferror(file) == 0;
    const std::string why = std::strerror(errno);
    if (file != nullptr) std::fclose(file);
    if (!read) throw std::runtime_error(path + ": can't be read: " + why);
    return bytes;
}

bool is_space(char c) { return std::string_view(" \t\n\v\f\r").find(c) != std::string_view::npos; }

// A number of a PNM's heading, after blanks and comments; the one blank behind it goes, too.
int take_number(std::string_view &rest) {
    while (!rest.empty() && (is_space(rest[0]) || rest[0] == '#'))
        rest.remove_prefix(rest[0] == '#' ? std::min(rest.size(), rest.find_first_of("\r\n")) : 1);
    const std::size_t digits = std::min(rest.size(), rest.find_first_not_of("0123456789"));
    if (digits == 0 || digits > 9 || digits == rest.size() || !is_space(rest[digits]))
        throw Unreadable("damaged: its heading is none");
    const int number = std::stoi(std::string(rest.substr(0, digits)));
    rest.remove_prefix(digits + 1);
    return number;
}

// A sample of 0..maxval as 0..255, by Pillow's roundings: of 16-bit grey first to 0..65535.
std::uint8_t level(int sample, int maxval, bool is_grey) {
    const int full = is_grey && maxval > 255 ? 65535 : 255;
    const int value =
        std::min(full, static_cast<int>(std::nearbyint(double(sample) / maxval * full)));
    return static_cast<std::uint8_t>(full == 255 ? value : value / 257);
}

bool is_pnm(std::string_view bytes) {
    return bytes.size() > 2 && bytes[0] == 'P' && (bytes[1] == '5' || bytes[1] == '6') &&
           is_space(bytes[2]);
}

Image read_pnm(std::string_view rest) {
    const bool is_grey = rest[1] == '5';
    rest.remove_prefix(2);
    const int width = take_number(rest), height = take_number(rest), maxval = take_number(rest);
    if (width < 1 || height < 1 || maxval < 1 || maxval > 65535)
        throw Unreadable("damaged: a size or its largest value can't be");
    const std::size_t bytes = maxval > 255 ? 2 : 1, copies = is_grey ? 3 : 1;
    const std::size_t samples = std::size_t(width) * std::size_t(height) * (is_grey ? 1 : 3);
    Image image{{}, height, width};
    if (rest.size() / bytes < samples) throw Unreadable("truncated");
    image.rgb.reserve(samples * copies);
    for (std::size_t at = 0; at < samples * bytes; at += bytes) {
        const int high = static_cast<unsigned char>(rest[at]);
        const int sample = bytes == 1 ? high : high << 8 | static_cast<unsigned char>(rest[at + 1]);
        image.rgb.insert(image.rgb.end(), copies, level(sample, maxval, is_grey));
    }
    return image;
}

Image decode(std::string_view bytes) {
    if (is_png(bytes)) return read_png(bytes);
    if (is_pnm(bytes)) return read_pnm(bytes);
    throw Unreadable("it begins as none");
}

}  // namespace

Image read_image(const std::string &path) {
    const std::string bytes = read_file(path);
    try {
        return decode(bytes);
    } catch (const Unreadable &error) {
        throw std::runtime_error(path + ": not a PNG, PPM or PGM that can be read (" +
                                 error.what() + ")");
    }
}

void check_pgm(const std::string &path) {
    const std::string_view ending = ".pgm";
    if (path.size() < ending.size() || path.substr(path.size() - ending.size()) != ending)
        throw std::runtime_error(path + ": depth is written as 16-bit PGM alone: name it .pgm");
}

void write_pgm(const std::string &path, const std::vector<float> &depth, int height, int width) {
    std::string bytes = "P5\n" + std::to_string(width) + " " + std::to_string(height) + "\n65535\n";
    for (const float value : depth) {
        const auto level =
            static_cast<unsigned>(std::lround(std::clamp(value, 0.0f, 1.0f) * 65535.0));
        bytes += static_cast<char>(level >> 8);
        bytes += static_cast<char>(level & 255);
    }
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
        throw std::runtime_error("can't write " + path + ": it is there, and no file");
    const std::string temporary = path + ".part";
    std::FILE *file = std::fopen(temporary.c_str(), "wb");
    bool written = file != nullptr;
    if (written) written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    if (file != nullptr) written = std::fclose(file) == 0 && written;
    if (written) written = std::rename(temporary.c_str(), path.c_str()) == 0;
    if (written) return;
    std::remove(temporary.c_str());
    throw std::runtime_error("can't write " + path + ". What stood there before is untouched");
}
