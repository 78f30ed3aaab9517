// SHA-256 (FIPS 180-4), for bytes of which a manifest holds the hash.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace apdepth::detail {

class Sha256 {
  public:
    using Digest = std::array<std::uint8_t, 32>;

    // `instructions`: whether the processor's own are used where it has them.
    explicit Sha256(bool instructions = true);

    void update(const void *data, std::size_t size);
    // Ends the message; the object is of no further use.
    Digest finish();

  private:
    void blocks(const std::uint8_t *bytes, std::size_t count);
    void block(const std::uint8_t *bytes);

    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> pending_{};
    std::size_t held_ = 0;
    std::uint64_t total_ = 0;
    bool is_fast_ = false;
};

std::string to_hex(const Sha256::Digest &digest);

}  // namespace apdepth::detail
