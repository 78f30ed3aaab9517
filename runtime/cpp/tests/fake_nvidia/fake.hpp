// A machine with two NVIDIA GPUs where there is none: the CUDA driver's and runtime's calls on host
// memory, and a TensorRT whose engines give the mean of each pixel's channels. What tests do to it.
//
// It is strict where NVIDIA promises nothing. Work that is queued on a stream runs only when somebody
// waits for it, so that a missing wait shows as a wrong depth; fresh memory holds garbage; freeing
// never waits. What NVIDIA calls undefined is noted as a fault.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

namespace fake {

// A CUDA context. A GPU's primary one is active while it is retained, and from when the CUDA runtime
// was started there.
struct Context {
    int device;
    int retained = 0;
    bool is_started = false;

    bool is_active() const { return is_started || retained > 0; }
};

// One call of what is declared in include/, or of a destructor there ("~ICudaEngine").
struct Call {
    std::string name;
    const Context *context;  // current then; nullptr where none was
    const void *object;      // the stream, event, memory or TensorRT object that it is about
};

// A new machine; what is left of the old one is forgotten.
void reset();

std::vector<Call> calls();
int count(const std::string &name);
void forget_calls();

// The nth call of that name from now on is refused. TensorRT's log then says `says`, as an error,
// after a warning and before an echo.
void refuse(const std::string &name, int nth = 1, const std::string &says = "");
void refuse_nothing();
// Runs before each call of that name, without a lock.
void before(const std::string &name, std::function<void()> hook);

// What was done though NVIDIA leaves its result undefined.
std::vector<std::string> faults();
// What is not freed, in words.
std::vector<std::string> alive();

Context *primary(int device);
Context *make_context(int device);
// The calling thread's contexts, the current one last.
std::vector<Context *> &stack();

// Memory of another part of the program, until reset. `mapped`: GPUs reach it.
void *memory(std::size_t bytes, cudaMemoryType type, int device, bool mapped = true);

}  // namespace fake
