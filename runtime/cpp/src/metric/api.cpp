// Metres from C: arguments are checked here.
#include "apdepth.h"

#include <memory>
#include <string>

#include "boundary.hpp"
#include "metric/metres.hpp"

struct apdepth_metric {
    apdepth::detail::Metric metric;
};

using namespace apdepth::detail;

apdepth_fit_options apdepth_default_fit_options(void) { return {}; }

apdepth_status apdepth_metric_new(apdepth_metric **out) {
    return guarded([&] {
        require(out, "out");
        *out = nullptr;
        *out = std::make_unique<apdepth_metric>().release();
    });
}

apdepth_status apdepth_fit(apdepth_metric *metric, const float *depth, int height, int width,
                           const apdepth_anchor *anchors, int count,
                           const apdepth_fit_options *options, apdepth_fit_result *fit) {
    return guarded([&] {
        require(metric, "metric");
        require(depth, "depth");
        if (count < 0) throw UsageError("there can't be " + std::to_string(count) + " anchors");
        if (count > 0) require(anchors, "anchors");
        const bool with_field = options == nullptr || options->skip_field == 0;
        metric->metric.fit(depth, {height, width}, anchors, static_cast<std::size_t>(count),
                           with_field);
        if (fit != nullptr) *fit = metric->metric.found();
    });
}

apdepth_status apdepth_metres(apdepth_metric *metric, const float *depth, int height, int width,
                              float *metres) {
    return guarded([&] {
        require(metric, "metric");
        require(depth, "depth");
        check_picture({height, width});
        require(metres, "metres");
        metric->metric.metres(depth, {height, width}, metres);
    });
}

void apdepth_metric_close(apdepth_metric *metric) {
    guarded([&] { delete metric; });
}
