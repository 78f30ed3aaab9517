// A membrane over cells of a picture, held to residuals at anchors, broken at the edges of depth:
// the equations of runtime/metric/field.py, which says what they are.
#pragma once

#include <cstddef>
#include <vector>

#include "line.hpp"

namespace apdepth::detail {

// Cells along the longer side: of the field, and of the coarse one that asks what can be trusted.
constexpr int kFine = 40, kCoarse = 20;

struct Shape {
    int height, width;
};

// Cells of a picture, and the conductances between them: to the right [h][w - 1], down [h - 1][w].
class Grid {
  public:
    void make(const float *depth, Shape picture, int cells);

    Shape shape{0, 0};
    Doubles right, down;

  private:
    Doubles depth_;
};

// Where an anchor lies among the cells: the cell up and left of it, and the shares that it reads of
// that one, the right one, the one below, and the one below to the right.
struct Place {
    int row, column;
    double share[4];
};

Place place_in(const Grid &grid, Shape picture, double x, double y);

// Membranes for `Lanes` different pulls of the same anchors. The equations couple a cell with its
// eight neighbours: a band of the shorter side and one about the diagonal, which is eliminated
// without a search for pivots, for the matrix is positive definite.
template <int Lanes>
class Membranes {
  public:
    // pulls: [anchors][Lanes]; sinks: e of each cell, [h][w].
    void solve(const Grid &grid, const std::vector<Place> &places, const Doubles &rho,
               const Doubles &pulls, const Doubles &sinks);

    double read(const Place &at, int lane) const;
    double value(int row, int column, int lane) const {
        return right_side_[index(row, column, lane)];
    }

  private:
    std::size_t cell(int row, int column) const {
        return static_cast<std::size_t>(row) * below_ + static_cast<std::size_t>(column) * beside_;
    }
    std::size_t index(int row, int column, int lane) const {
        return cell(row, column) * Lanes + static_cast<std::size_t>(lane);
    }
    // The coefficient between cell `first` and the one `step` cells after it, lane 0.
    double *coefficient(std::size_t first, std::size_t step) {
        return matrix_.data() + (first * (band_ + 1) + step) * Lanes;
    }
    void spread(const Grid &grid, const Doubles &sinks);
    void pull(const Place &at, double rho, const double *pulls);
    void eliminate();

    std::size_t below_ = 0, beside_ = 0, band_ = 0, cells_ = 0;
    Doubles matrix_;      // upper half of the band, [cell][step to the other cell][lane]
    Doubles right_side_;  // and, once solved, the membranes: [cell][lane]
};

extern template class Membranes<1>;
extern template class Membranes<4>;

}  // namespace apdepth::detail
