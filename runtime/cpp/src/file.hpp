// Files as they are read here: errors with the operating system's own words.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>

namespace apdepth::detail {

// What opening or reading a file failed with: an errno.
struct FileError {
    int code;
};

// The words of an errno.
std::string error_text(int code);

// Hand a file's bytes to `take`, part by part. Throws FileError.
void read_file(const std::string &path,
               const std::function<void(const char *bytes, std::size_t size)> &take);

// All of a file. Throws FileError.
std::string read_file(const std::string &path);

// A free hidden name in the folder of `target`, for what is to take its place.
std::filesystem::path free_name_beside(const std::filesystem::path &target);

// Replace a file whole, or leave it as it was, and make the folders above it; false where the
// system refuses.
bool write_file(const std::string &path, const std::string &bytes);

}  // namespace apdepth::detail
