// The C boundary: every function that returns a status runs inside of `guarded`.
#pragma once

#include <exception>
#include <new>

#include "error.hpp"

namespace apdepth::detail {

// Keep `message` as this thread's last error; returns `status`.
apdepth_status fail(apdepth_status status, const char *message) noexcept;

const char *last_error() noexcept;

// Run `work`; whatever it throws becomes a status and this thread's last error.
template <class Work>
apdepth_status guarded(Work work) noexcept {
    try {
        work();
        return APDEPTH_OK;
    } catch (const Error &error) {
        return fail(error.status, error.what());
    } catch (const std::bad_alloc &) {
        return fail(APDEPTH_MEMORY_ERROR, "no memory left: end other programs, or a smaller frame");
    } catch (const std::exception &error) {
        return fail(APDEPTH_INTERNAL_ERROR, error.what());
    } catch (...) {
        return fail(APDEPTH_INTERNAL_ERROR, "an exception of an unknown kind");
    }
}

// Throws UsageError for a null pointer.
void require(const void *pointer, const char *name);

}  // namespace apdepth::detail
