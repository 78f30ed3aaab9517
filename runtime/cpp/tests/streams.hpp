// Streams of frames and of a model's depth, whose truth is known.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

// The same numbers on every machine.
class Drawn {
  public:
    explicit Drawn(std::uint64_t seed) : state_(seed * 2654435761U + 1U) {}
    double uniform() {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return static_cast<double>(state_ >> 40) / 16777216.0;
    }
    double normal() {  // near enough
        double sum = -6.0;
        for (int i = 0; i < 12; ++i) sum += uniform();
        return sum;
    }

  private:
    std::uint64_t state_;
};

struct Shot {
    int height, width;
    std::vector<std::uint8_t> rgb;
    std::vector<float> depth, truth;

    std::size_t at(int y, int x) const {
        return static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
               static_cast<std::size_t>(x);
    }
    // Mean distance of `found` from the truth, away from the border.
    double error(const std::vector<float> &found, int border = 0) const {
        double sum = 0.0;
        for (int y = border; y < height - border; ++y)
            for (int x = border; x < width - border; ++x)
                sum += std::abs(found[at(y, x)] - truth[at(y, x)]);
        return sum / ((height - 2 * border) * (width - 2 * border));
    }
};

// A large textured scene; a camera looks at parts of it.
class World {
  public:
    explicit World(std::uint64_t seed) {
        Drawn drawn(seed);
        for (double &value : grid_) value = drawn.uniform();
    }

    // The camera's noise, and the model's error, are each frame's own.
    Shot shot(int top, int left, int height, int width, Drawn &noise) const {
        Shot made{height, width, {}, {}, {}};
        for (int y = 0; y < height; ++y)
            for (int x = 0; x < width; ++x) {
                for (int channel = 0; channel < 3; ++channel) {
                    const double level = 30 + 180 * field(channel, top + y, left + x);
                    made.rgb.push_back(
                        static_cast<std::uint8_t>(std::lround(level + 2 * noise.normal())));
                }
                const double depth = 0.2 + 0.4 * field(3, top + y, left + x) + 0.001 * (top + y);
                made.truth.push_back(static_cast<float>(depth));
                made.depth.push_back(static_cast<float>(depth + 0.02 * noise.normal()));
            }
        return made;
    }

  private:
    // 0 .. 1, with things of some 12 pixels.
    double field(int number, int y, int x) const {
        const int row = y / 12, column = x / 12;
        const double b = (y % 12) / 12.0, a = (x % 12) / 12.0;
        const auto value = [&](int down, int right) {
            return grid_[(((number * 31) + row + down) % 61 * 61 + (column + right) % 61) %
                         (61 * 61)];
        };
        return (1 - b) * ((1 - a) * value(0, 0) + a * value(0, 1)) +
               b * ((1 - a) * value(1, 0) + a * value(1, 1));
    }

    double grid_[61 * 61];
};
