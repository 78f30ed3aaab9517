/* The header is C: this file is compiled as C99, and does what the header's example does. */
#include <stdio.h>
#include <stdlib.h>

#include "apdepth.h"

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
    return failed;
}
