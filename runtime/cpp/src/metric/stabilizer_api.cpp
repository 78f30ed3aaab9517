// The stabiliser from C.
#include <limits>
#include <memory>
#include <string>

#include "apdepth.h"
#include "boundary.hpp"
#include "metric/stabilizer.hpp"

struct apdepth_stabilizer {
    apdepth::detail::Stabilizer stream;
};

using namespace apdepth::detail;

apdepth_status apdepth_stabilizer_new(apdepth_stabilizer **out) {
    return guarded([&] {
        require(out, "out");
        *out = nullptr;
        *out = new apdepth_stabilizer;
    });
}

apdepth_status apdepth_stabilize(apdepth_stabilizer *stabilizer, const uint8_t *rgb, int height,
                                 int width, size_t stride, const float *depth, float *steady) {
    return guarded([&] {
        require(stabilizer, "stabilizer");
        require(rgb, "rgb");
        require(depth, "depth");
        require(steady, "steady");
        const Frame frame{rgb, height, width, stride};
        check_sides(height, width);
        check_stride(frame);
        stabilizer->stream.step(frame, depth, steady);
    });
}

apdepth_status apdepth_stabilizer_reset(apdepth_stabilizer *stabilizer) {
    return guarded([&] {
        require(stabilizer, "stabilizer");
        stabilizer->stream.reset();
    });
}

apdepth_status apdepth_stabilizer_age(const apdepth_stabilizer *stabilizer, long long *age) {
    return guarded([&] {
        require(stabilizer, "stabilizer");
        require(age, "age");
        *age = stabilizer->stream.age();
    });
}

void apdepth_stabilizer_close(apdepth_stabilizer *stabilizer) {
    guarded([&] { delete stabilizer; });
}
