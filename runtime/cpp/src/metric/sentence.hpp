// A sentence with numbers in it, into memory that is there: neither an allocation nor a locale's comma.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstring>

namespace apdepth::detail {

// A number with so many digits after its point.
struct Rounded {
    double value;
    int digits;
};

// Cuts off what has no room.
class Sentence {
  public:
    template <std::size_t N>
    explicit Sentence(char (&room)[N]) : next_(room), last_(room + N - 1) {
        *next_ = '\0';
    }

    Sentence &operator<<(const char *words) {
        for (; *words != '\0' && next_ != last_; ++words) *next_++ = *words;
        return end(next_);
    }
    Sentence &operator<<(int number) { return end(std::to_chars(next_, last_, number).ptr); }
    Sentence &operator<<(Rounded number) {
        return end(
            std::to_chars(next_, last_, number.value, std::chars_format::fixed, number.digits).ptr);
    }

  private:
    Sentence &end(char *next) {
        next_ = next;
        *next_ = '\0';
        return *this;
    }

    char *next_, *last_;
};

}  // namespace apdepth::detail
