// What the calls of cuda.cpp and tensorrt.cpp work on.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "fake.hpp"

namespace fake {

// The runs of one execution context.
struct Runs {
    std::size_t queued = 0, done = 0;
    int changes = 0;  // of shapes and addresses
};

// What a stream does at some time.
struct Work {
    std::function<void()> run;
    std::vector<const void *> memory;  // that it reads and writes
    std::shared_ptr<Runs> runs = nullptr;
    int changes = 0;  // of the execution context when this was queued or captured
};

// Of CUDA's; never deleted, so that its use after its end is found out.
struct Handle {
    Context *context = nullptr;
    bool is_alive = true;
};

}  // namespace fake

struct CUstream_st : fake::Handle {
    std::deque<fake::Work> queue, captured;
    std::size_t queued = 0, done = 0;
    bool is_capturing = false;
};
struct CUevent_st : fake::Handle {
    CUstream_st *stream = nullptr;
    std::size_t at = 0;
};
struct CUgraph_st : fake::Handle {
    std::deque<fake::Work> works;
};
struct CUgraphExec_st : CUgraph_st {};

namespace fake {

constexpr int kDevices = 2;

struct Memory {
    std::size_t bytes;
    cudaMemoryType type;
    int device;
    bool mapped, lent;  // reached by GPUs; made by a test
};

struct Refusal {
    int nth;
    std::string says;
};

struct Machine {
    std::recursive_mutex mutex;
    std::deque<Context> contexts = {{0}, {1}};  // at first the primary ones
    std::deque<CUstream_st> streams;
    std::map<Context *, CUstream_st *> default_streams;
    std::deque<CUevent_st> events;
    std::deque<CUgraph_st> graphs;
    std::deque<CUgraphExec_st> executables;
    std::map<std::uintptr_t, Memory> memories;
    std::map<std::string, int> alive;
    std::vector<Call> calls;
    std::vector<std::string> faults;
    std::map<std::string, std::vector<Refusal>> refusals;
    std::map<std::string, std::function<void()>> hooks;
};

Machine &machine();
std::unique_lock<std::recursive_mutex> locked();

// One call: recorded, perhaps refused, and alone in the machine until its end.
struct Entered {
    explicit Entered(const std::string &name, const void *object = nullptr);

    std::unique_lock<std::recursive_mutex> lock;
    bool refused = false;
    std::string says;
};

int current_device();
void choose_device(int device);
// Of the calling thread; where there is none, the runtime starts on the chosen device.
Context *current();
bool is_usable(const Handle *handle);
CUstream_st *resolve(cudaStream_t stream);  // nullptr is the context's default stream

void push(cudaStream_t stream, Work work);
void drain(CUstream_st &stream, std::size_t end);

std::map<std::uintptr_t, Memory>::iterator find_memory(const void *address);
bool is_queued(std::map<std::uintptr_t, Memory>::iterator memory);  // some work will use it

void fault(const std::string &what);

template <class Made>
Made *make(std::deque<Made> &all, const char *kind) {
    all.emplace_back().context = current();
    ++machine().alive[kind];
    return &all.back();
}

}  // namespace fake
