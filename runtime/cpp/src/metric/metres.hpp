// Relative depth to metres, from anchors. The twin of runtime/metric/metres.py, which says what it
// does and why.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "apdepth.h"
#include "field.hpp"
#include "line.hpp"
#include "rows.hpp"

namespace apdepth::detail {

// Throws ImageError unless a picture's depth can have that shape.
void check_picture(Shape picture);

// The fit of one frame after the other. What it works in is kept for the next one.
class Metric {
  public:
    // Throws ImageError for a frame that is none.
    void fit(const float *depth, Shape picture, const apdepth_anchor *anchors, std::size_t count,
             bool with_field);

    // Throws UsageError without a fit, ImageError for a frame that isn't the field's. `metres` may be
    // `depth`.
    void metres(const float *depth, Shape picture, float *metres);

    // Its `why` points into this object.
    const apdepth_fit_result &found() const { return found_; }

  private:
    void clear();
    void take(const float *depth, Shape picture, const apdepth_anchor *anchors, std::size_t count);
    bool tells_a_scale();
    void trust_edges_less(const float *depth, Shape picture);
    void judge();
    void reach(double middle);
    void correct(const float *depth, Shape picture);

    apdepth_fit_result found_{};
    char why_[200] = "";
    bool fitted_ = false, has_field_ = false;
    Shape picture_{0, 0};

    Doubles x_, y_, z_, sigma_, d_;  // of the anchors that can be used
    Doubles off_, reached_;          // of those that agree: relative error, relative depth
    Line line_;
    Residuals left_;
    Field field_;
    FieldOver over_;
};

}  // namespace apdepth::detail
