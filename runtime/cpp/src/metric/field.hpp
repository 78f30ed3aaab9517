// The model's local error, from what is left at the anchors. The twin of runtime/metric/field.py,
// which says what it does and why.
#pragma once

#include <cstddef>
#include <vector>

#include "membrane.hpp"

namespace apdepth::detail {

// What is left at the anchors: pixels x, y; relative depth d; rho = log z - log(s d + t); and how far
// each is trusted, 0 to 1.
struct Residuals {
    void clear();
    void reserve(std::size_t count);
    void add(double x, double y, double d, double rho, double trust);
    std::size_t size() const { return at_x.size(); }

    Doubles at_x, at_y, depth, rho, trust;
};

class Field {
  public:
    // Anchors used at most: give it evenly chosen ones.
    static constexpr std::size_t kMost = 1024;

    // False where left-out anchors are told no better with a field.
    bool fit(const float *depth, Shape picture, const Residuals &left);

    Shape shape{0, 0};          // in cells
    std::vector<float> values;  // [h][w]
    double error = 0.0;         // median |log error| at left-out anchors

  private:
    void place(const float *depth, Shape picture, int cells, const Residuals &left);
    void sink(int cells);
    void vote(Shape picture, const Residuals &left);
    double told_by_others(const Residuals &left, const Doubles &pulls, Doubles &told);
    void doubt(const Residuals &left, const Doubles &told, Doubles &pulls);
    double share_of(const Residuals &left, const Doubles &pulls, const Doubles &told) const;

    Grid grid_;
    std::vector<Place> places_;
    Doubles sinks_;  // of each cell
    std::vector<char> held_, beside_;  // cells with an anchor, and those near one in their row
    Membranes<4> folds_;
    Membranes<1> whole_;
    Doubles judge_x_, judge_y_, distance_, voted_;
    Doubles pulls_[3], told_[3];  // of each way of doubt
    Doubles kept_, sorted_;
};

}  // namespace apdepth::detail
