#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>

#include <nlohmann/json.hpp>

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace {

using Json = nlohmann::ordered_json;

// The first value of "KEY : value" in a file of /proc, or nothing.
std::string proc_value(const char *path, const std::string &key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.rfind(key, 0) != 0) continue;
        const std::size_t colon = line.find(':');
        const std::size_t start = line.find_first_not_of(" \t", colon + 1);
        return start == std::string::npos ? "" : line.substr(start);
    }
    return "";
}

// Linear between the two nearest samples, as numpy.percentile.
double percentile(const std::vector<double> &sorted, double percent) {
    const double at = percent / 100.0 * static_cast<double>(sorted.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

Json timing(const std::vector<double> &seconds, int batch) {
    std::vector<double> samples;
    for (const double taken : seconds) samples.push_back(taken * 1e3);
    std::vector<double> ms = samples;
    std::sort(ms.begin(), ms.end());
    const double count = static_cast<double>(ms.size());
    const double sum = std::accumulate(ms.begin(), ms.end(), 0.0), mean = sum / count;
    double squares = 0;
    for (const double value : ms) squares += (value - mean) * (value - mean);
    const double stddev = ms.size() > 1 ? std::sqrt(squares / (count - 1)) : 0.0;
    return {{"latency",
             {{"p50", percentile(ms, 50)},
              {"p90", percentile(ms, 90)},
              {"p99", percentile(ms, 99)},
              {"min", ms.front()},
              {"max", ms.back()},
              {"mean", mean},
              {"stddev", stddev}}},
            {"throughput", batch * count / sum * 1e3},
            {"samples_ms", samples}};
}

Json machine() {
    Json facts = {{"os", nullptr},
                  {"cpu", nullptr},
                  {"cores", std::thread::hardware_concurrency()},
                  {"memory_bytes", nullptr}};
    utsname system{};
    if (uname(&system) == 0)
        facts["os"] = std::string(system.sysname) + "-" + system.release + "-" + system.machine;
    facts["memory_bytes"] = static_cast<long long>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) facts["cores"] = CPU_COUNT(&cores);
    facts["cpu"] = proc_value("/proc/cpuinfo", "model name");
    return facts;
}

std::string now() {
    const std::time_t time = std::time(nullptr);
    std::ostringstream text;
    std::tm utc{};
    gmtime_r(&time, &utc);
    char written[64];
    std::strftime(written, sizeof written, "%Y-%m-%dT%H:%M:%S+00:00", &utc);
    return written;
}

double gflop(const Json &graph) {
    double sum = 0;
    for (const auto &stage : graph.at("gflop").items()) sum += stage.value().get<double>();
    return sum;
}

Json graphs(const Json &manifest) {
    Json found = Json::array();
    for (const Json &graph : manifest.at("graphs"))
        found.push_back({{"graph", graph.at("name")},
                         {"precision", graph.at("precision")},
                         {"parameters", graph.at("parameters")},
                         {"nodes", graph.at("nodes")},
                         {"gflop", gflop(graph)}});
    return found;
}

// Weights and activations that the manifest knows of, in bytes.
Json memory(const Json &manifest, const apdepth_model_info &info, long long host_growth) {
    Json found = {{"host_growth", nullptr},
                  {"gpu_growth", nullptr},
                  {"weights", nullptr},
                  {"activations", nullptr}};
    if (host_growth >= 0) found["host_growth"] = host_growth;
    for (const Json &graph : manifest.at("graphs"))
        if (graph.at("name") == "fused" && graph.at("precision") == info.precision)
            found["weights"] =
                graph.at("parameters").get<long long>() * (graph.at("precision") == "fp32" ? 4 : 2);
    for (const Json &engine : manifest.at("engines"))
        if (engine.at("target") == info.backend && engine.at("graph") == "fused" &&
            engine.at("precision") == info.precision) {
            found["weights"] = engine.at("weights_bytes");
            found["activations"] = engine.at("activation_bytes");
        }
    return found;
}

}  // namespace

long long process_memory(const std::string &key) {
    const std::string text = proc_value("/proc/self/status", key);
    return text.empty() ? -1 : std::stoll(text) * 1024;
}

std::string report(const std::string &bundle, const apdepth_model_info &info,
                   const Measured &measured) {
    std::ifstream file(bundle + "/manifest.json", std::ios::binary);
    const Json manifest = Json::parse(file);
    const std::string label = std::string(info.backend) + " " + info.precision;
    const bool on_cpu = std::string(info.device) == "cpu";
    Json notes = Json::array();
    notes.push_back(label + ", without host copies: " +
                    (on_cpu ? "a CPU has no copies to leave out" : "not offered"));
    notes.push_back(label + ", stages, layers and roofline: `apdepth-deploy profile` tells them");
    if (info.batch.min > 1)
        notes.push_back(label + ": the graph computes " + std::to_string(info.batch.min) +
                        " frames for each one that the C API takes: export with --batch 1");
    const Json result = {{"label", label},
                         {"backend", info.backend},
                         {"device", info.device},
                         {"precision", info.precision},
                         {"reason", info.reason},
                         {"load_seconds", measured.loading},
                         {"first_ms", measured.first * 1e3},
                         {"ratio", 1.0},
                         {"host", timing(measured.runs, 1)},
                         {"device_only", nullptr},
                         {"stages", nullptr},
                         {"layers", nullptr},
                         {"memory", memory(manifest, info, measured.host_growth)},
                         {"roofline", nullptr},
                         {"notes", notes}};
    const Json whole = {
        {"schema_version", 1},
        {"created", now()},
        {"bundle",
         {{"folder", bundle},
          {"spec", info.model},
          {"random_weights", info.random_weights != 0},
          {"graphs", graphs(manifest)}}},
        {"frame",
         {{"batch", 1},
          {"height", info.height.opt},
          {"width", info.width.opt},
          {"image", "a ramp"}}},
        {"runs", measured.runs.size()},
        {"warm_up", measured.warm_up},
        {"machine", machine()},
        {"gpu", nullptr},
        {"gpu_missing", on_cpu ? "nothing ran on a GPU" : "`apdepth-deploy profile` tells it"},
        {"versions", {{"apdepth", apdepth_version()}}},
        {"backends", Json::array({result})}};
    return whole.dump(1);
}
