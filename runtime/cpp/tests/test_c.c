/* The header is C: this file is compiled as C99, and does what the header's example does. */
#include <stdio.h>
#include <stdlib.h>

#include "apdepth.h"

/* Depth 0 .. 1 from left to right, 4 d + 1 metres away. */
static int metres_fail(void) {
    enum { HEIGHT = 4, WIDTH = 5 };
    const apdepth_anchor anchors[] = {{0, 0, 1, 0}, {4, 1, 5, 0.1f}, {2, 3, 3, 0}};
    apdepth_fit_options options = apdepth_default_fit_options();
    apdepth_metric *metric = NULL;
    apdepth_fit_result fit;
    float depth[HEIGHT * WIDTH], metres[HEIGHT * WIDTH];
    int i, failed;

    for (i = 0; i < HEIGHT * WIDTH; ++i) depth[i] = (float)(i % WIDTH) / (WIDTH - 1);
    if (apdepth_metric_new(&metric) != APDEPTH_OK) return 1;
    failed = apdepth_fit(metric, depth, HEIGHT, WIDTH, anchors, 3, &options, &fit) != APDEPTH_OK;
    if (!failed && !fit.valid) fprintf(stderr, "no metres: %s\n", fit.why);
    failed = failed || !fit.valid || fit.inliers != 3;
    failed = failed || apdepth_metres(metric, depth, HEIGHT, WIDTH, metres) != APDEPTH_OK;
    failed = failed || !(metres[6] > 1.999f && metres[6] < 2.001f);
    apdepth_metric_close(metric);
    return failed;
}

int main(void) {
    apdepth_handle *model = NULL;
    apdepth_options options = {0};
    apdepth_model_info info;
    uint8_t *rgb;
    float *depth;
    int height, width, failed;

    if (apdepth_open(APDEPTH_TEST_DATA "/mean_bundle", &options, &model) != APDEPTH_OK) {
        fprintf(stderr, "%s\n", apdepth_last_error());
        return 1;
    }
    if (apdepth_info(model, &info) != APDEPTH_OK) return 1;
    height = info.height.opt;
    width = info.width.opt;
    rgb = calloc((size_t)height * (size_t)width, 3);
    depth = malloc(sizeof *depth * (size_t)height * (size_t)width);
    if (rgb == NULL || depth == NULL) return 1;
    depth[0] = 1.0f;
    failed = apdepth_infer(model, rgb, height, width, 3 * (size_t)width, depth) != APDEPTH_OK;
    failed = failed || depth[0] != 0.0f;
    free(rgb);
    free(depth);
    apdepth_close(model);
    return failed || metres_fail();
}
