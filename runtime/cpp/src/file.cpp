#include "file.hpp"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <vector>

namespace apdepth::detail {
namespace {

struct CloseFile {
    void operator()(std::FILE *file) const { std::fclose(file); }
};

using File = std::unique_ptr<std::FILE, CloseFile>;

constexpr std::size_t kChunk = std::size_t{1} << 20;

bool write_new(const std::filesystem::path &path, const std::string &bytes) {
    std::FILE *file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return false;
    const bool written = std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
    return std::fclose(file) == 0 && written;
}

}  // namespace

std::filesystem::path free_name_beside(const std::filesystem::path &target) {
    std::random_device random;
    return target.parent_path() /
           (".apdepth-" + std::to_string(random()) + std::to_string(random()));
}

std::string error_text(int code) { return std::generic_category().message(code); }

void read_file(const std::string &path,
               const std::function<void(const char *bytes, std::size_t size)> &take) {
    const File file(std::fopen(path.c_str(), "rb"));
    if (!file) throw FileError{errno};
    std::vector<char> chunk(kChunk);
    errno = 0;
    while (const std::size_t read = std::fread(chunk.data(), 1, chunk.size(), file.get()))
        take(chunk.data(), read);
    if (std::ferror(file.get()) != 0) throw FileError{errno};
}

std::string read_file(const std::string &path) {
    std::string bytes;
    read_file(path, [&](const char *part, std::size_t size) { bytes.append(part, size); });
    return bytes;
}

bool write_file(const std::string &path, const std::string &bytes) {
    const std::filesystem::path target(path);
    std::error_code failed;
    if (target.has_parent_path()) std::filesystem::create_directories(target.parent_path(), failed);
    if (failed) return false;
    const std::filesystem::path temporary = free_name_beside(target);
    if (write_new(temporary, bytes)) std::filesystem::rename(temporary, target, failed);
    else failed = std::make_error_code(std::errc::io_error);
    if (!failed) return true;
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    return false;
}

}  // namespace apdepth::detail
