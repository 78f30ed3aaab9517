// As much of a test framework as these tests take.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                        \
        }                                                                        \
    } while (false)

inline void check_text(const std::string &text, const std::string &part, const char *file,
                       int line) {
    if (text.find(part) != std::string::npos) return;
    std::fprintf(stderr, "%s:%d: \"%s\" is not in \"%s\"\n", file, line, part.c_str(),
                 text.c_str());
    std::exit(1);
}

#define CHECK_TEXT(text, part) check_text(text, part, __FILE__, __LINE__)

// `call` returns `status`, and the last error has `part` in it.
#define CHECK_FAILS(call, status, part)         \
    do {                                        \
        CHECK((call) == (status));              \
        CHECK_TEXT(apdepth_last_error(), part); \
    } while (false)
