// exp in a form that compilers vectorise.
#pragma once

#include <cstdint>
#include <cstring>

namespace apdepth::detail {

// Where a logarithm may end: e^-60 is next to nothing, and products with it are not subnormal yet,
// which processors are slow at.
constexpr float kLeastLog = -60.0f;

// Within 2e-7 of exp(x), relatively, for kLeastLog <= x <= 60. It doesn't bound x itself: a branch at
// its beginning would keep the loop around it from being vectorised.
inline float exponential(float x) {
    constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
    // Adding this leaves no bits for a part: the sum's last bits are x / ln 2, rounded.
    constexpr float kWhole = 12582912.0f;
    const float shifted = x * kLog2E + kWhole;
    const float power = shifted - kWhole;
    const float rest = (x - power * kLn2High) - power * kLn2Low;
    // (exp(r) - 1 - r) / r^2 on -ln(2)/2 .. ln(2)/2, minimax: by itself within 1e-10 of exp(r).
    float sum = 1.9790341e-4f;
    sum = sum * rest + 1.3944659e-3f;
    sum = sum * rest + 8.333497e-3f;
    sum = sum * rest + 4.1666295e-2f;
    sum = sum * rest + 1.6666666e-1f;
    sum = sum * rest + 0.5f;
    sum = sum * (rest * rest) + rest + 1.0f;
    std::uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127U) << 23;  // what is left of kWhole's own bits leaves at the top
    float two_to_the_power;
    std::memcpy(&two_to_the_power, &bits, sizeof bits);
    return sum * two_to_the_power;
}

}  // namespace apdepth::detail
