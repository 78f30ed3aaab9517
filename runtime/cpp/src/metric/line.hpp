// Scale and shift from anchors: z = s d + t, robust to anchors that are wrong. The twin of
// runtime/metric/fit.py, which says what it does and why.
#pragma once

#include <cstddef>
#include <vector>

namespace apdepth::detail {

using Doubles = std::vector<double>;

// The mean of the two middle ones where there are two. Reorders the values; there must be some.
double median(double *values, std::size_t count);

class Line {
  public:
    // The line through most of the anchors; false where no two of them give one that rises.
    bool fit(const Doubles &d, const Doubles &z, const Doubles &sigma);

    // Of (scale, shift), row by row: what the anchors with a weight leave open.
    void covariance(const Doubles &d, double (&found)[4]) const;

    double scale = 0.0, shift = 0.0;
    double spread = 0.0;  // of the residuals, in sigmas

  private:
    bool consensus(const Doubles &d, const Doubles &z);
    void try_pairs(const Doubles &d, const Doubles &z);
    void try_pair(const Doubles &d, const Doubles &z, std::size_t first, std::size_t second);
    void reweigh(const Doubles &d, const Doubles &z, const Doubles &sigma);
    bool measure_spread();

    Doubles inverse_;          // 1 / sigma
    Doubles weights_;          // 0 to 1 over sigma squared
    Doubles residual_, near_;  // in sigmas
    Doubles scales_, shifts_;  // of the lines tried
    Doubles cost_;             // of each
};

}  // namespace apdepth::detail
