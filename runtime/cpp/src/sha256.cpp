#include "sha256.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace apdepth::detail {
namespace {

constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t rotate(std::uint32_t value, int bits) {
    return (value >> bits) | (value << (32 - bits));
}

std::uint32_t big_endian(const std::uint8_t *bytes) {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
           std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
}

#if defined(__x86_64__)
bool has_sha_instructions() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool sse41 = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSE4_1) != 0;
    return sse41 && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

int word(std::uint32_t value) { return static_cast<int>(value); }

// Four rounds at a time by the processor's own instructions: about ten times as fast. They take the
// state as (a, b, e, f) and (c, d, g, h), the first one uppermost.
__attribute__((target("sha,sse4.1"))) void fast_blocks(std::array<std::uint32_t, 8> &state,
                                                       const std::uint8_t *bytes,
                                                       std::size_t count) {
    const auto [a, b, c, d, e, f, g, h] = state;
    __m128i abef = _mm_set_epi32(word(a), word(b), word(e), word(f));
    __m128i cdgh = _mm_set_epi32(word(c), word(d), word(g), word(h));
    const __m128i big_endian_words = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    for (; count > 0; --count, bytes += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];  // the last 16 words of the schedule
        for (std::size_t i = 0; i < 16; ++i) {
            __m128i &now = w[i % 4];
            const __m128i &next = w[(i + 1) % 4], &later = w[(i + 2) % 4], &last = w[(i + 3) % 4];
            if (i < 4)
                now =
                    _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes) + i),
                                     big_endian_words);
            else
                now = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(now, next), _mm_alignr_epi8(last, later, 4)),
                    last);
            const __m128i round = _mm_add_epi32(
                now, _mm_loadu_si128(reinterpret_cast<const __m128i *>(kRound.data()) + i));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, round);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(round, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    std::array<std::uint32_t, 4> first{}, second{};
    _mm_storeu_si128(reinterpret_cast<__m128i *>(first.data()), abef);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(second.data()), cdgh);
    state = {first[3], first[2], second[3], second[2], first[1], first[0], second[1], second[0]};
}
#else
bool has_sha_instructions() { return false; }
#endif

}  // namespace

Sha256::Sha256(bool instructions) {
    static const bool has = has_sha_instructions();  // asking costs time under a hypervisor
    is_fast_ = instructions && has;
}

void Sha256::blocks(const std::uint8_t *bytes, std::size_t count) {
#if defined(__x86_64__)
    if (is_fast_) return fast_blocks(state_, bytes, count);
#endif
    for (; count > 0; --count, bytes += pending_.size()) block(bytes);
}

void Sha256::update(const void *data, std::size_t size) {
    const auto *bytes = static_cast<const std::uint8_t *>(data);
    total_ += size;
    if (held_ > 0) {
        const std::size_t taken = std::min(size, pending_.size() - held_);
        std::memcpy(pending_.data() + held_, bytes, taken);
        held_ += taken;
        bytes += taken;
        size -= taken;
        if (held_ < pending_.size()) return;
        blocks(pending_.data(), 1);
        held_ = 0;
    }
    const std::size_t whole = size / pending_.size();
    blocks(bytes, whole);
    bytes += whole * pending_.size();
    size -= whole * pending_.size();
    if (size > 0) std::memcpy(pending_.data(), bytes, size);
    held_ = size;
}

Sha256::Digest Sha256::finish() {
    const std::uint64_t bits = total_ * 8;
    const std::uint8_t one = 0x80, zero = 0;
    update(&one, 1);
    while (held_ != pending_.size() - 8) update(&zero, 1);
    std::array<std::uint8_t, 8> length{};
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
    update(length.data(), length.size());
    Digest digest{};
    for (std::size_t i = 0; i < digest.size(); ++i)
        digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
    return digest;
}

void Sha256::block(const std::uint8_t *bytes) {
    std::array<std::uint32_t, 64> w;
    for (std::size_t i = 0; i < 16; ++i) w[i] = big_endian(bytes + 4 * i);
    for (std::size_t i = 16; i < 64; ++i) {
        const auto s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
        const auto s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t i = 0; i < 64; ++i) {
        const auto s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        const auto t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
        const auto s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        const auto t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<std::uint32_t, 8> worked = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state_[i] += worked[i];
}

std::string to_hex(const Sha256::Digest &digest) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : digest) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

}  // namespace apdepth::detail
