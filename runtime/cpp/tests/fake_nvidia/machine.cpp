#include "machine.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace fake {
namespace {

std::unique_ptr<Machine> &slot() {
    static auto machine = std::make_unique<Machine>();
    return machine;
}

thread_local std::vector<Context *> contexts_of_thread;
thread_local int chosen_device = 0;

std::uintptr_t number(const void *memory) { return reinterpret_cast<std::uintptr_t>(memory); }

}  // namespace

void reset() {
    for (auto &[address, memory] : machine().memories) std::free(reinterpret_cast<void *>(address));
    slot() = std::make_unique<Machine>();
    contexts_of_thread.clear();
    chosen_device = 0;
}

Machine &machine() { return *slot(); }

std::unique_lock<std::recursive_mutex> locked() {
    return std::unique_lock<std::recursive_mutex>(machine().mutex);
}

std::vector<Call> calls() {
    const auto lock = locked();
    return machine().calls;
}

int count(const std::string &name) {
    const std::vector<Call> all = calls();
    return static_cast<int>(
        std::count_if(all.begin(), all.end(), [&](const Call &call) { return call.name == name; }));
}

void forget_calls() {
    const auto lock = locked();
    machine().calls.clear();
}

void refuse(const std::string &name, int nth, const std::string &says) {
    const auto lock = locked();
    machine().refusals[name].push_back({nth, says});
}

void refuse_nothing() {
    const auto lock = locked();
    machine().refusals.clear();
}

void before(const std::string &name, std::function<void()> hook) {
    const auto lock = locked();
    machine().hooks[name] = std::move(hook);
}

void fault(const std::string &what) { machine().faults.push_back(what); }

std::vector<std::string> faults() {
    const auto lock = locked();
    return machine().faults;
}

std::vector<std::string> alive() {
    const auto lock = locked();
    std::vector<std::string> found;
    for (const auto &[kind, number] : machine().alive)
        if (number != 0) found.push_back(std::to_string(number) + " of " + kind);
    for (const auto &[address, memory] : machine().memories)
        if (!memory.lent) found.push_back(std::to_string(memory.bytes) + " bytes");
    for (const Context &context : machine().contexts)
        if (context.retained != 0)
            found.push_back("the context of " + std::to_string(context.device));
    return found;
}

Context *primary(int device) { return &machine().contexts.at(static_cast<std::size_t>(device)); }

Context *make_context(int device) { return &machine().contexts.emplace_back(Context{device}); }

std::vector<Context *> &stack() { return contexts_of_thread; }

void *memory(std::size_t bytes, cudaMemoryType type, int device, bool mapped) {
    void *made = nullptr;
    if (posix_memalign(&made, 256, bytes) != 0) std::abort();
    const auto lock = locked();
    machine().memories[number(made)] = {bytes, type, device, mapped, true};
    return made;
}

Entered::Entered(const std::string &name, const void *object) {
    const auto &contexts = contexts_of_thread;
    std::function<void()> hook;
    lock = locked();
    machine().calls.push_back({name, contexts.empty() ? nullptr : contexts.back(), object});
    for (Refusal &refusal : machine().refusals[name])
        if (--refusal.nth == 0) refused = true, says = refusal.says;
    hook = machine().hooks[name];
    lock.unlock();
    if (hook) hook();
    lock.lock();
}

int current_device() {
    return contexts_of_thread.empty() ? chosen_device : contexts_of_thread.back()->device;
}

void choose_device(int device) { chosen_device = device; }

Context *current() {
    if (contexts_of_thread.empty()) {
        contexts_of_thread.push_back(primary(chosen_device));
        contexts_of_thread.back()->is_started = true;
    }
    return contexts_of_thread.back();
}

bool is_usable(const Handle *handle) { return handle->is_alive && handle->context == current(); }

CUstream_st *resolve(cudaStream_t stream) {
    if (stream != nullptr) return stream;
    CUstream_st *&found = machine().default_streams[current()];
    if (found == nullptr) (found = &machine().streams.emplace_back())->context = current();
    return found;
}

void push(cudaStream_t stream, Work work) {
    CUstream_st &target = *resolve(stream);
    if (target.is_capturing) return target.captured.push_back(std::move(work));
    if (work.runs)
        work.run = [runs = work.runs, turn = work.runs->queued++, run = std::move(work.run)] {
            if (runs->done++ != turn) fault("two runs of an execution context may overlap");
            run();
        };
    ++target.queued;
    target.queue.push_back(std::move(work));
}

void drain(CUstream_st &stream, std::size_t end) {
    while (stream.done < end) {
        const Work work = std::move(stream.queue.front());
        stream.queue.pop_front();
        ++stream.done;
        work.run();
    }
}

std::map<std::uintptr_t, Memory>::iterator find_memory(const void *address) {
    auto &memories = machine().memories;
    auto after = memories.upper_bound(number(address));
    if (after == memories.begin()) return memories.end();
    --after;
    return number(address) < after->first + after->second.bytes ? after : memories.end();
}

bool is_queued(std::map<std::uintptr_t, Memory>::iterator memory) {
    for (const CUstream_st &stream : machine().streams)
        for (const Work &work : stream.queue)
            for (const void *address : work.memory)
                if (find_memory(address) == memory) return true;
    return false;
}

}  // namespace fake
