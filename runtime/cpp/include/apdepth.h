/* Depth from camera frames: the C API of apdepth-deploy. This header is the manual.
 *
 * A bundle (the folder that `apdepth-deploy export` writes) goes in, depth comes out. Everything
 * between a frame and its depth is inside the bundle's graph: there is no pre- or post-processing
 * to write.
 *
 *     apdepth_handle *model = NULL;
 *     if (apdepth_open("bundle", NULL, &model) != APDEPTH_OK) {
 *         fprintf(stderr, "%s\n", apdepth_last_error());
 *         return 1;
 *     }
 *     apdepth_model_info info;
 *     apdepth_info(model, &info);
 *
 *     int height = info.height.opt, width = info.width.opt;
 *     float *depth = malloc(sizeof *depth * height * width);
 *     if (apdepth_infer(model, rgb, height, width, 3 * (size_t)width, depth) != APDEPTH_OK)
 *         fprintf(stderr, "%s\n", apdepth_last_error());
 *     free(depth);
 *     apdepth_close(model);
 *
 * Frames   uint8 RGB, three bytes a pixel, rows from the top. They must have the graph's own size:
 *          nothing is resized here. Export at your camera's size, or resize before.
 * Depth    float32, affine-invariant, 0 = nearest .. 1 = farthest in the frame.
 * Metres   float32, along the optical axis, from depth and anchors: apdepth_metric, below.
 * Threads  Every function may be called from any thread. One handle may be shared by threads that
 *          infer at the same time. apdepth_close is the exception: no other call on that handle may
 *          be running or follow. An apdepth_metric or apdepth_stabilizer is one thread's at a time.
 * Errors   Functions return APDEPTH_OK or what failed; apdepth_last_error() says why and what mends
 *          it. A call that failed wrote nothing that counts. No exception leaves the library.
 * Memory   Nothing of yours is read or written after a call returns, except that device memory
 *          given to apdepth_infer_async is used until its stream has passed that work.
 * Versions Before 1.0 a new minor version may change structs and functions; the shared library's
 *          name says so (libapdepth.so.0.1).
 */
#ifndef APDEPTH_H
#define APDEPTH_H

#include <stddef.h>
#include <stdint.h>

#define APDEPTH_VERSION_MAJOR 0
#define APDEPTH_VERSION_MINOR 1
#define APDEPTH_VERSION_PATCH 0

#define APDEPTH_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* What a call came to. The names are those of the Python package's exceptions. */
typedef enum apdepth_status {
    APDEPTH_OK = 0,
    APDEPTH_USAGE_ERROR = 1,   /* an argument that can't work: a null pointer, an unknown backend */
    APDEPTH_IMAGE_ERROR = 2,   /* a frame that this graph doesn't take: another size, short rows */
    APDEPTH_BUNDLE_ERROR = 3,  /* a bundle that is incomplete, damaged, or of another version */
    APDEPTH_BACKEND_ERROR = 4, /* an engine that is missing, or can't run this bundle here */
    APDEPTH_MEMORY_ERROR = 5,  /* the host's memory didn't suffice */
    APDEPTH_INTERNAL_ERROR = 6 /* a defect of this library: please report it */
} apdepth_status;

/* An opened bundle with its engine. */
typedef struct apdepth_handle apdepth_handle;

/* How to open a bundle. Zero stands for the default everywhere: start from
 * `apdepth_options options = {0};`. Strings are copied by apdepth_open. */
typedef struct apdepth_options {
    /* "openvino", "tensorrt-rtx", "tensorrt", or "auto" (the default): a TensorRT engine of the
     * bundle where one fits this machine, else OpenVINO. */
    const char *backend;
    /* "fp32", "fp16" or "bf16". Default: what the device runs best of what the bundle has. */
    const char *precision;
    /* "cpu", "cuda", "cuda:1" and so on, or "auto" (the default). */
    const char *device;
    /* 0 (the default): compare the SHA-256 of every file that is used with the manifest's. It takes
     * about 2 to 5 seconds per gigabyte; not 0, where the files were checked before, leaves it out.
     */
    int skip_hashes;
} apdepth_options;

/* A side of a frame, or how many frames at once: min = opt = max where the graph takes one size. */
typedef struct apdepth_range {
    int min, opt, max;
} apdepth_range;

/* What an opened bundle is. The strings belong to the handle, and live until apdepth_close. */
typedef struct apdepth_model_info {
    /* Frame sizes that the graph takes; sides are multiples of `stride`. */
    apdepth_range batch, height, width;
    int stride;
    /* Not 0: the weights were drawn, not trained. Depth from them means nothing. */
    int random_weights;
    const char *model;     /* the model's name, such as "small" */
    const char *backend;   /* "openvino", "tensorrt-rtx" or "tensorrt" */
    const char *device;    /* "cpu", "cuda:0", ... */
    const char *precision; /* of the weights: "fp32", "fp16" or "bf16"; OpenVINO computes in fp32 */
    const char *reason;    /* why this backend was chosen, in words */
    const char *warning;   /* what is known to go wrong with this engine here, or NULL */
} apdepth_model_info;

/* The library's version, "MAJOR.MINOR.PATCH". Never freed. */
APDEPTH_API const char *apdepth_version(void);

/* The options that apdepth_open takes for NULL: all zeros. */
APDEPTH_API apdepth_options apdepth_default_options(void);

/* Open a bundle: read and check its manifest, check its files, and load its engine.
 *
 * bundle   the folder; UTF-8, ended by 0.
 * options  how, or NULL for the defaults. Not kept.
 * out      receives the handle, to be closed by apdepth_close; NULL where opening fails, whatever
 *          it held before: close an earlier handle first.
 *
 * Takes seconds for a full-size model. The first inference may take longer than later ones. On
 * TensorRT for RTX, kernels are compiled at the first start on a machine, and kept in the folder
 * that the Python package uses ($XDG_CACHE_HOME/apdepth-deploy).
 *
 * The NVIDIA driver is asked only where a GPU could run the bundle: not for device "cpu" or backend
 * "openvino", nor for "auto" where the bundle has no engine for this build.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, an empty path; an unknown backend, precision or device.
 * APDEPTH_BUNDLE_ERROR   no bundle, a path that leaves it, a missing file, another size or hash, an
 *                        unknown schema_version. The message names it.
 * APDEPTH_BACKEND_ERROR  the backend isn't in this build, or can't run this bundle on this machine.
 */
APDEPTH_API apdepth_status apdepth_open(const char *bundle, const apdepth_options *options,
                                        apdepth_handle **out);

/* Depth of one frame in host memory. Waits for it.
 *
 * rgb            uint8 RGB, row y at rgb + y * stride; read only. Where stride is 3 * width the
 *                frame isn't copied on its way to a CPU engine.
 * height, width  the frame's size in pixels: within info's ranges and a multiple of its stride.
 * stride         bytes from one row down to the next, at least 3 * width. It counts upwards only:
 *                a frame stored from the bottom up is turned by the caller.
 * depth          receives float32 [height][width] without gaps, 4 * height * width bytes.
 *
 * A graph for several frames at once runs filled with copies of this one. Calls from several
 * threads run side by side as far as the engine can; each takes working memory of its own, which
 * the handle keeps for later calls. So do, on TensorRT, the last four frame sizes, as far as there
 * is room: going back to one of them costs nothing.
 *
 * APDEPTH_USAGE_ERROR    a null pointer.
 * APDEPTH_IMAGE_ERROR    a size that the graph doesn't take, or a stride that is too small, or one
 *                        that no memory holds.
 * APDEPTH_BACKEND_ERROR  the engine failed.
 */
APDEPTH_API apdepth_status apdepth_infer(apdepth_handle *model, const uint8_t *rgb, int height,
                                         int width, size_t stride, float *depth);

/* Queue depth of frames in GPU memory on a CUDA stream of yours; neither copies nor waits.
 *
 * TensorRT backends only. What you queue on the stream afterwards sees the depth.
 *
 * rgb            uint8 [batch][height][width][3] without gaps that the model's GPU reaches: memory
 *                of its own, managed, or pinned and mapped (no copy on a Jetson); ready for work on
 *                `stream`.
 * batch, height, width  as in info.
 * depth          float32 [batch][height][width] without gaps, in such memory, too.
 * cuda_stream    a cudaStream_t (or CUstream) of that GPU's primary context, which the CUDA runtime
 *                uses; not under capture. NULL is the legacy default stream, also where your code is
 *                built with per-thread default streams (pass cudaStreamPerThread for yours). There
 *                TensorRT adds synchronisations of the device: a stream that you make is faster.
 *
 * Both memories must stay until the stream has passed this work. Addresses that aren't multiples of
 * 256 cost a copy on the GPU. Work queued by one handle's calls follows each other on the GPU.
 * apdepth_close waits for it.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, a backend on the CPU, a stream under capture.
 * APDEPTH_IMAGE_ERROR    a size that the engine wasn't built for, memory that its GPU can't reach.
 * APDEPTH_BACKEND_ERROR  TensorRT or CUDA failed.
 */
APDEPTH_API apdepth_status apdepth_infer_async(apdepth_handle *model, const uint8_t *rgb, int batch,
                                               int height, int width, float *depth,
                                               void *cuda_stream);

/* Fill `info`. Fails for a null pointer alone (APDEPTH_USAGE_ERROR). */
APDEPTH_API apdepth_status apdepth_info(const apdepth_handle *model, apdepth_model_info *info);

/* Why the last call on this thread that failed did so: one or two lines of UTF-8, never NULL. A call
 * that succeeds leaves it as it is: read it where a status says so. Valid until this thread's next
 * call of a function that returns a status. */
APDEPTH_API const char *apdepth_last_error(void);

/* Free the handle and its engine; waits for what apdepth_infer_async queued. NULL is no error. */
APDEPTH_API void apdepth_close(apdepth_handle *model);

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
