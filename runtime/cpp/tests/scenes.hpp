// A floor and a box in relative depth, what a model gets wrong of it, and anchors that know better.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "apdepth.h"

// The same numbers on every machine: a linear congruential sequence.
class Numbers {
  public:
    explicit Numbers(unsigned seed) : state_(seed * 2654435761U + 1U) {}
    double uniform(double low, double high) {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return low + (high - low) * static_cast<double>(state_ >> 40) / 16777216.0;
    }

  private:
    std::uint64_t state_;
};

struct Scene {
    // With a local error of about 20 % where `wrong` is 1, none where it is 0.
    Scene(int rows, int columns, double scale = 5.0, double shift = 1.0, double wrong = 1.0)
        : height(rows), width(columns) {
        for (int row = 0; row < height; ++row)
            for (int column = 0; column < width; ++column) {
                const double y = static_cast<double>(row) / height;
                const double x = static_cast<double>(column) / width;
                const bool box = y > 0.3 && y < 0.7 && x > 0.3 && x < 0.6;
                depth.push_back(static_cast<float>(box ? 0.25 : 1.0 - 0.5 * y - 0.2 * x));
                const double off = box ? -0.25 : 0.2 * std::sin(4.0 * x) + 0.1 * std::cos(2.0 * y);
                truth.push_back(
                    static_cast<float>((scale * depth.back() + shift) * std::exp(wrong * off)));
            }
    }

    std::size_t at(int row, int column) const {
        return static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
               static_cast<std::size_t>(column);
    }

    // At pixels' centres; a share of them at any distance.
    std::vector<apdepth_anchor> anchors(int count, double outliers, unsigned seed) const {
        Numbers numbers(seed);
        std::vector<apdepth_anchor> made;
        for (int i = 0; i < count; ++i) {
            const int row = std::min(static_cast<int>(numbers.uniform(0, height)), height - 1);
            const int column = std::min(static_cast<int>(numbers.uniform(0, width)), width - 1);
            const bool wrong = numbers.uniform(0, 1) < outliers;
            const double z = wrong ? numbers.uniform(0.3, 12) : double{truth[at(row, column)]};
            made.push_back(
                {static_cast<float>(column), static_cast<float>(row), static_cast<float>(z), 0.0f});
        }
        return made;
    }

    // Mean |metres - truth| / truth where metres are known.
    double error(const std::vector<float> &metres) const {
        double sum = 0.0, known = 0.0;
        for (std::size_t i = 0; i < metres.size(); ++i)
            if (!std::isnan(metres[i]))
                sum += std::abs(double{metres[i]} / truth[i] - 1.0), known += 1.0;
        return sum / known;
    }

    int height, width;
    std::vector<float> depth, truth;
};
