/* What follows depth: metres, a steady stream, points. Plain arrays, no bundle; apdepth.h includes it. */
#ifndef APDEPTH_METRIC_H
#define APDEPTH_METRIC_H

#include "apdepth.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Metres: relative depth, and pixels whose distance is known.
 *
 * Depth of an affine-invariant model says what is nearer and what is farther; its 0 and 1 move with
 * what is in the picture. Metres need a scale and a shift of each frame's own, fitted to anchors:
 * pixels whose distance a LiDAR, a time-of-flight or stereo camera, or a SLAM map knows. What no
 * scale and shift can mend is mended near the anchors by a smooth field that ends at depth's edges:
 *
 *     metres = (scale * depth + shift) * exp(field)
 *
 *     apdepth_metric *metric = NULL;
 *     if (apdepth_metric_new(&metric) != APDEPTH_OK) return 1;
 *     apdepth_anchor anchors[] = {{120.0f, 80.5f, 2.41f, 0.0f}, {310.0f, 95.0f, 5.02f, 0.05f}, ...};
 *     apdepth_fit_result fit;
 *     if (apdepth_fit(metric, depth, height, width, anchors, count, NULL, &fit) != APDEPTH_OK)
 *         fprintf(stderr, "%s\n", apdepth_last_error());
 *     else if (!fit.valid)
 *         fprintf(stderr, "no metres: %s\n", fit.why);
 *     apdepth_metres(metric, depth, height, width, metres);   all NaN where the fit isn't valid
 *     apdepth_metric_close(metric);
 *
 * Depth may come from anywhere: no bundle needs to be open. Any size of 2 x 2 or more will do.
 */

/* The fit of one frame after the other, and the memory that it works in: memory is asked for only
 * where a frame has more pixels, or more anchors, than any before it. Belongs to one thread at a
 * time. */
typedef struct apdepth_metric apdepth_metric;

/* A pixel whose distance is known. Those that can't be used are left out: not finite, z not above
 * 0, a sigma below 0, outside of the frame, or where depth isn't finite. */
typedef struct apdepth_anchor {
    float x, y;  /* in pixels: x right, y down, centres at whole numbers */
    float z;     /* metres along the optical axis */
    float sigma; /* how sure, in metres; 0 (the default): 0.02 + 2 % of z */
} apdepth_anchor;

/* How to fit. Zero stands for the default: start from `apdepth_fit_options options = {0};`. */
typedef struct apdepth_fit_options {
    /* Not 0: scale and shift alone, which may then be applied to frames of another size. */
    int skip_field;
} apdepth_fit_options;

/* What the anchors told. NaN stands where a number isn't known. */
typedef struct apdepth_fit_result {
    int valid;            /* not 0: apdepth_metres gives metres */
    int anchors;          /* how many could be used */
    int inliers;          /* how many of them agree; 40 % may be wrong */
    double scale;         /* metres for the whole range of depth, above 0 */
    double shift;         /* metres at depth 0 */
    double covariance[4]; /* of (scale, shift), row by row */
    double median_error;  /* median |scale d + shift - z| / z of the inliers */
    double reach[2];      /* depth from .. to for which the anchors tell: metres are NaN beyond */
    double
        held_out_error; /* median |log error| of the field where anchors were left out of it; NaN:
                            * there is no field, for it wouldn't help there, or wasn't asked for */
    const char *why;    /* why it isn't valid, in a sentence, or "". Belongs to the handle, until
                            * its next fit */
} apdepth_fit_result;

/* Make a handle, to be closed by apdepth_metric_close. `out` receives it, or NULL.
 *
 * APDEPTH_USAGE_ERROR    a null pointer.
 */
APDEPTH_API apdepth_status apdepth_metric_new(apdepth_metric **out);

/* The options that apdepth_fit takes for NULL: all zeros. */
APDEPTH_API apdepth_fit_options apdepth_default_fit_options(void);

/* Fit scale, shift and field of one frame. The same input gives the same fit.
 *
 * depth          float32 [height][width] without gaps, as apdepth_infer gives it; NaN where it isn't
 *                known.
 * anchors        `count` of them, in any order; NULL where there are none.
 * options        how, or NULL for the defaults.
 * fit            receives what was found; NULL where only the metres count.
 *
 * Anchors that tell nothing (fewer than two, all at one depth, of another picture) are no error:
 * fit->valid is 0 and fit->why says it. After an error the handle has no fit, or the one before.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, a count below 0.
 * APDEPTH_IMAGE_ERROR    a side below 2, or a frame that no memory holds.
 */
APDEPTH_API apdepth_status apdepth_fit(apdepth_metric *metric, const float *depth, int height,
                                       int width, const apdepth_anchor *anchors, int count,
                                       const apdepth_fit_options *options, apdepth_fit_result *fit);

/* Metres by the handle's last fit.
 *
 * depth          float32 [height][width] without gaps: of the frame that was fitted, or, where the
 *                fit has no field, of one that looks alike.
 * metres         receives float32 [height][width] along the optical axis. NaN where they aren't
 *                known: depth is NaN or beyond the fit's reach, metres wouldn't be above 0, or the
 *                fit isn't valid. May be `depth` itself.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, or no fit yet.
 * APDEPTH_IMAGE_ERROR    another size than the fit's, where it has a field; a side below 2.
 */
APDEPTH_API apdepth_status apdepth_metres(apdepth_metric *metric, const float *depth, int height,
                                          int width, float *metres);

/* Free the handle. NULL is no error. */
APDEPTH_API void apdepth_metric_close(apdepth_metric *metric);

/* ---- Stable over time, and points: plain arrays, no bundle.
 *
 * Depth may come from anywhere; any size of 2 x 2 or more will do. The numbers are those of the
 * Python package, within 1e-5.
 *
 *     apdepth_stabilizer *stabilizer = NULL;
 *     if (apdepth_stabilizer_new(&stabilizer) != APDEPTH_OK) return 1;
 *     while (next_frame(rgb)) {
 *         apdepth_infer(model, rgb, height, width, stride, depth);
 *         apdepth_stabilize(stabilizer, rgb, height, width, stride, depth, depth);
 *     }
 *     apdepth_stabilizer_close(stabilizer);
 */

/* The relative depth of one stream, frame after frame, made steadier: the last result, moved as the
 * picture moved, counts where colours and depth are alike. No look ahead. One for each stream; it
 * belongs to one thread at a time. */
typedef struct apdepth_stabilizer apdepth_stabilizer;

/* Make a handle, to be closed by apdepth_stabilizer_close. `out` receives it, or NULL.
 *
 * APDEPTH_USAGE_ERROR    a null pointer.
 */
APDEPTH_API apdepth_status apdepth_stabilizer_new(apdepth_stabilizer **out);

/* Steady the next frame's depth.
 *
 * rgb, height, width, stride  the frame, as for apdepth_infer.
 * depth          float32 [height][width] without gaps: its relative depth, finite.
 * steady         receives float32 [height][width] without gaps. May be `depth` itself.
 *
 * The result follows the model's own scale slowly, and may leave 0 .. 1 a little. After a cut, and
 * for a frame of another size than the last, it is `depth`, as at the start. Memory is asked for
 * where a frame has another size than the last and is larger than all before, and never else: about
 * 20 bytes a pixel.
 *
 * APDEPTH_USAGE_ERROR    a null pointer.
 * APDEPTH_IMAGE_ERROR    a side below 2, a stride that is too small, depth with NaN or Inf: the
 *                        stream is as before, and goes on with the next frame.
 */
APDEPTH_API apdepth_status apdepth_stabilize(apdepth_stabilizer *stabilizer, const uint8_t *rgb,
                                             int height, int width, size_t stride,
                                             const float *depth, float *steady);

/* Frames since the start or the last cut, into `age`: 1 where the last result is that frame's own
 * depth, 0 before the first. What was fitted to one result, such as metres, about holds for the
 * next, but no longer once it is 1. Fails for a null pointer alone (APDEPTH_USAGE_ERROR). */
APDEPTH_API apdepth_status apdepth_stabilizer_age(const apdepth_stabilizer *stabilizer,
                                                  long long *age);

/* Forget the stream: the next frame is a start. Memory is kept. Fails for a null pointer alone
 * (APDEPTH_USAGE_ERROR). */
APDEPTH_API apdepth_status apdepth_stabilizer_reset(apdepth_stabilizer *stabilizer);

/* Free the handle. NULL is no error. */
APDEPTH_API void apdepth_stabilizer_close(apdepth_stabilizer *stabilizer);

/* A pinhole camera, in pixels of the frame: X, Y, Z is seen at x = fx X / Z + cx, y = fy Y / Z + cy.
 * Pixel centres lie at whole numbers. */
typedef struct apdepth_camera {
    double fx, fy, cx, cy;
} apdepth_camera;

/* Which points. Zero stands for the default: start from `apdepth_point_options options = {0};`. */
typedef struct apdepth_point_options {
    /* The least step of an edge, as a part of z; default 0.04. What hangs between the two sides of
     * one, and belongs to neither, is left out. */
    double ratio;
    /* Pixels from neighbour to neighbour; default 1. As many as z was enlarged by, for an edge is
     * smeared over more pixels then. */
    int spacing;
    /* Take each so many-th pixel of each so many-th row; default 1. */
    int every;
} apdepth_point_options;

/* The options that apdepth_points takes for NULL: all zeros. */
APDEPTH_API apdepth_point_options apdepth_default_point_options(void);

/* The points of one picture, row by row, without those in the air behind edges.
 *
 * z              float32 [height][width] without gaps, along the optical axis. Where it is NaN,
 *                infinite or not above 0 there is no point.
 * rgb, height, width, stride  the picture, as for apdepth_infer; NULL, where points need no colours.
 * camera         of the picture, in its size.
 * options        which points, or NULL for the defaults.
 * xyz            receives float32 [count][3]: x right, y down, z forward, in the unit of z. Has room
 *                for as many points as there are pixels (of every 2nd, sides are halved upwards).
 * colours        receives uint8 [count][3]; has as much room. NULL where `rgb` is.
 * count          receives how many there are.
 *
 * Nothing is allocated.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, a camera that can't be, an option below 0.
 * APDEPTH_IMAGE_ERROR    a side below 2, a stride that is too small.
 */
APDEPTH_API apdepth_status apdepth_points(const float *z, const uint8_t *rgb, int height, int width,
                                          size_t stride, const apdepth_camera *camera,
                                          const apdepth_point_options *options, float *xyz,
                                          uint8_t *colours, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
