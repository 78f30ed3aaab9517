#include "openvino_cache.hpp"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <vector>

#include <openvino/frontend/manager.hpp>

#include "cache_folder.hpp"
#include "error.hpp"
#include "file.hpp"
#include "machine.hpp"
#include "sha256.hpp"

namespace apdepth::detail {
namespace {

namespace fs = std::filesystem;

// In each folder, the SHA-256 of the other files.
constexpr const char *kSeal = "sha256.json";
// Bytes that all entries may take together. The newest stays whatever its size.
constexpr std::uintmax_t kLimit = std::uintmax_t{4} << 30;

using Digests = std::map<std::string, std::string>;

std::string sha256_of(const std::string &path) {
    Sha256 hash;
    read_file(path, [&](const char *bytes, std::size_t size) { hash.update(bytes, size); });
    return to_hex(hash.finish());
}

std::string sha256_of_text(const std::string &text) {
    Sha256 hash;
    hash.update(text.data(), text.size());
    return to_hex(hash.finish());
}

// What OpenVINO's choice of instructions depends on: the model, and what is switched on.
std::string processor() {
    std::string info, told;
    try {
        info = read_file("/proc/cpuinfo");
    } catch (const FileError &) {
    }
    for (std::size_t start = 0; start < info.size();) {
        const std::size_t end = std::min(info.find('\n', start), info.size());
        const std::string line = info.substr(start, end - start);
        start = end + 1;
        if (line.empty()) break;  // the next core's
        for (const char *kind : {"model name", "flags", "Features", "CPU "})
            if (line.rfind(kind, 0) == 0) told += (told.empty() ? "" : "\n") + line;
    }
    utsname system{};
    if (told.empty() && uname(&system) == 0) told = std::string(system.machine) + " ";
    return told;
}

// "2026.4.1" of "2026.4.1-22982-e213a147257-releases/2026/4".
std::string version() {
    const std::string build = ov::get_openvino_version().buildNumber;
    return build.substr(0, build.find('-'));
}

std::int64_t changed_at(const std::string &path) {
    struct stat found{};
    if (stat(path.c_str(), &found) != 0) return 0;
    return std::int64_t{found.st_mtim.tv_sec} * 1000000000 + found.st_mtim.tv_nsec;
}

ov::AnyMap settings_of(const Job &job) {
    ov::AnyMap settings;
    for (const auto &[name, value] : job.settings.items())
        if (value.is_string()) settings[name] = value.get<std::string>();
        else settings[name] = value.get<int>();
    return settings;
}

// The graph by the reader of ONNX alone: Core::read_model would offer a damaged file to every other
// reader.
ov::CompiledModel compile(const Job &job) {
    ov::frontend::FrontEndManager manager;
    const auto reader = manager.load_by_framework("onnx");
    return core().compile_model(reader->convert(reader->load(job.graph)), "CPU", settings_of(job));
}

// With OpenVINO's own cache in a folder, which goes by the graph's path.
ov::CompiledModel compile(const Job &job, const fs::path &folder) {
    ov::AnyMap settings = settings_of(job);
    settings["CACHE_DIR"] = folder.string();
    return core().compile_model(job.graph, "CPU", settings);
}

void check_onnx(const Job &job) {
    ov::frontend::FrontEndManager manager;
    static_cast<void>(manager.load_by_framework("onnx")->load(job.graph));
}

Digests digests_in(const fs::path &folder) {
    Digests found;
    for (const fs::directory_entry &file : fs::directory_iterator(folder))
        if (file.path().filename() != kSeal)
            found[file.path().filename().string()] = sha256_of(file.path().string());
    return found;
}

// Whether a folder holds what was sealed in it, to the byte, and nothing else.
bool is_whole(const fs::path &entry) {
    try {
        const auto sealed = nlohmann::json::parse(read_file((entry / kSeal).string()));
        return sealed.is_object() && !sealed.empty() && sealed == nlohmann::json(digests_in(entry));
    } catch (const FileError &) {
        return false;
    } catch (const std::exception &) {
        return false;
    }
}

void check_again(const Job &job) {
    try {
        if (!job.checks_again ||
            (sha256_of(job.graph) == job.digests[0] && sha256_of(job.data) == job.digests[1]))
            return;
    } catch (const FileError &) {  // it was taken away
    }
    throw BundleError(job.graph + " changed while it was opened: load the bundle again");
}

void seal(const fs::path &folder) {
    const Digests digests = digests_in(folder);
    // OpenVINO removes what it couldn't write to the end, and says nothing.
    if (digests.empty() || !write_file((folder / kSeal).string(), nlohmann::json(digests).dump()))
        throw FileError{ENOSPC};
}

std::uintmax_t size_of(const fs::path &entry) {
    std::error_code failed;
    std::uintmax_t total = 0;
    for (const auto &file : fs::recursive_directory_iterator(entry, failed))
        if (const std::uintmax_t size = file.file_size(failed); !failed) total += size;
    return total;
}

// Remove the longest unused entries, down to the limit.
void prune(const fs::path &root) {
    std::error_code failed;
    std::vector<std::pair<fs::file_time_type, fs::path>> entries;
    for (const auto &entry : fs::directory_iterator(root, failed))
        entries.emplace_back(entry.last_write_time(failed), entry.path());
    std::sort(entries.rbegin(), entries.rend());
    std::uintmax_t total = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        total += size_of(entries[i].second);
        if (i > 0 && total > kLimit) fs::remove_all(entries[i].second, failed);
    }
}

// A hidden folder beside an entry, which takes its place; gone where it doesn't come to that.
class NewEntry {
  public:
    explicit NewEntry(const fs::path &entry) : entry_(entry), folder_(free_name_beside(entry)) {
        fs::create_directory(folder_);
    }
    ~NewEntry() {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    NewEntry(const NewEntry &) = delete;
    NewEntry &operator=(const NewEntry &) = delete;

    const fs::path &folder() const { return folder_; }

    void take_place() {
        const fs::path aside = free_name_beside(entry_);
        std::error_code ignored;
        fs::rename(entry_, aside, ignored);  // a damaged one
        fs::rename(folder_, entry_);
        fs::remove_all(aside, ignored);
        prune(entry_.parent_path());
    }

  private:
    fs::path entry_, folder_;
};

// Why nothing can be kept in a folder, which is made; "" where it can.
std::string why_unwritable(const fs::path &root) {
    std::error_code failed;
    fs::create_directories(root, failed);
    if (failed) return root.string() + ": " + failed.message();
    if (access(root.c_str(), W_OK | X_OK) != 0) return root.string() + ": Permission denied";
    return "";
}

class Stopwatch {
  public:
    std::string seconds() const {
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
        std::string text = std::to_string(taken.count());
        return text.substr(0, text.find('.') + 3) + " s";
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

ov::CompiledModel kept_anew(const Job &job, const fs::path &entry, const Log &log) {
    const Stopwatch watch;
    NewEntry made(entry);
    check_onnx(job);
    ov::CompiledModel model = compile(job, made.folder());
    check_again(job);
    seal(made.folder());
    made.take_place();
    log.info("openvino compiled " + job.graph + " in " + watch.seconds() + ", kept in " +
             entry.string());
    return model;
}

}  // namespace

// One until the process ends. A core gives its thread a stack for signal handlers and puts back the
// one it found: of two that end in the order of their beginning a stack stays that is gone.
ov::Core &core() {
    static ov::Core one;
    return one;
}

std::string entry_name(const Job &job) {
    using nlohmann::json;
    const json digests = json::array({job.digests[0], job.digests[1]});
    const json task = json::array({job.graph, job.data, digests, job.settings});
    const json parts =
        json::array({version(), processor(), usable_cores(), changed_at(job.graph), task});
    return sha256_of_text(parts.dump(-1, ' ', true, json::error_handler_t::replace)).substr(0, 32);
}

ov::CompiledModel compiled(const Job &job, const Log &log, std::string &trouble) {
    const std::string base = cache_folder();
    const fs::path root = fs::path(base) / "openvino";
    trouble = base.empty() ? "there is no home folder" : why_unwritable(root);
    if (!trouble.empty()) return compile(job);
    const fs::path entry = root / entry_name(job);
    const Stopwatch watch;
    if (is_whole(entry)) {
        std::error_code ignored;
        fs::last_write_time(entry, fs::file_time_type::clock::now(), ignored);
        ov::CompiledModel model = compile(job, entry);
        log.info("openvino read " + job.graph + " back from " + entry.string() + " in " +
                 watch.seconds());
        return model;
    }
    try {
        return kept_anew(job, entry, log);
    } catch (const FileError &error) {
        trouble = entry.string() + ": " + error_text(error.code);
    } catch (const fs::filesystem_error &error) {
        trouble = entry.string() + ": " + error.code().message();
    } catch (const ov::Exception &) {  // of the graph, most likely: it is told below
    }
    ov::CompiledModel model = compile(job);
    if (is_whole(entry)) trouble.clear();  // another process was sooner
    return model;
}

}  // namespace apdepth::detail
