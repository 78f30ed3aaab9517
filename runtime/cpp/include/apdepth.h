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
 * Frames   apdepth_infer takes uint8 RGB of the graph's own size: nothing is copied or resized.
 *          apdepth_infer_images takes a camera's formats and any size, several at once, and gives
 *          depth at each frame's own size.
 * Depth    float32, affine-invariant, 0 = nearest .. 1 = farthest in the frame.
 * Metres   float32, along the optical axis, from depth and anchors: apdepth_metric, below.
 * Threads  Every function may be called from any thread. One handle may be shared by threads that
 *          infer at the same time. apdepth_close is the exception: no other call on that handle may
 *          be running or follow. An apdepth_metric or apdepth_stabilizer is one thread's at a time.
 * Errors   Functions return APDEPTH_OK or what failed; apdepth_last_error() says why and what mends
 *          it. A call that failed wrote nothing that counts. No exception leaves the library.
 * Memory   Nothing of yours is read or written after a call returns, except that device memory
 *          given to apdepth_infer_async is used until its stream has passed that work.
 * Versions Before 1.0 a new minor version may change functions; the shared library's name says so
 *          (libapdepth.so.0.2). apdepth_options, apdepth_model_info and apdepth_timings may grow at
 *          their ends at any time: functions that take them are inline here and hand on the size
 *          that your compiler knows. From other languages call what they call, NAME_sized, with the
 *          size of your own declaration. Fields that it lacks have their defaults.
 */
#ifndef APDEPTH_H
#define APDEPTH_H

#include <stddef.h>
#include <stdint.h>

#define APDEPTH_VERSION_MAJOR 0
#define APDEPTH_VERSION_MINOR 2
#define APDEPTH_VERSION_PATCH 0

#define APDEPTH_API __attribute__((visibility("default")))

#if defined(__cplusplus)
#define APDEPTH_INLINE inline
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L
#define APDEPTH_INLINE static inline
#else
#define APDEPTH_INLINE static __inline__
#endif

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

/* What the library says while it works, where it says anything: one line of UTF-8, valid during the
 * call. Called on whichever thread is in a function of this library; it must not call one itself. */
typedef enum apdepth_log_level { APDEPTH_LOG_INFO = 0, APDEPTH_LOG_WARNING = 1 } apdepth_log_level;
typedef void (*apdepth_log)(void *data, apdepth_log_level level, const char *message);

/* How to open a bundle. Zero stands for the default everywhere: start from
 * `apdepth_options options = {0};`. Strings are copied by apdepth_open. */
typedef struct apdepth_options {
    /* "openvino", "tensorrt-rtx", "tensorrt", or "auto" (the default): a TensorRT engine of the
     * bundle where one fits this machine, else OpenVINO. */
    const char *backend;
    /* "fp32", "fp16" or "bf16". Default: what the device runs best of what the bundle has. On a CPU
     * "bf16" is arithmetic, whatever the graph's weights are: for processors that have it. */
    const char *precision;
    /* "cpu", "cuda", "cuda:1" and so on, or "auto" (the default). */
    const char *device;
    /* 0 (the default): compare the SHA-256 of every file that is used with the manifest's. It takes
     * up to 5 seconds per gigabyte, and less than one where the processor has instructions for it;
     * not 0, where the files were checked before, leaves it out. */
    int skip_hashes;
    /* CPU threads of OpenVINO, up to four for each core; 0 (the default): as many as cores. */
    int threads;
    /* Calls of apdepth_infer and apdepth_infer_images that find working memory ready when they run
     * side by side; 0 (the default): 1. More calls make more as they come. */
    int lanes;
    /* What OpenVINO tunes for: "latency" (the default) of one frame, or "throughput" of frames that
     * several threads ask for at the same time. */
    const char *hint;
    /* Receives what the library says, with `log_data`; NULL (the default): nothing is said. Both
     * must stay until apdepth_close. */
    apdepth_log log;
    void *log_data;
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
    const char *model;   /* the model's name, such as "small" */
    const char *backend; /* "openvino", "tensorrt-rtx" or "tensorrt" */
    const char *device;  /* "cpu", "cuda:0", ... */
    const char
        *precision;      /* "fp32" or "fp16" weights (OpenVINO computes them in fp32), or "bf16" */
    const char *reason;  /* why this backend was chosen, in words */
    const char *warning; /* what is known to go wrong with this engine here, or NULL */
} apdepth_model_info;

/* The library's version, "MAJOR.MINOR.PATCH". Never freed. */
APDEPTH_API const char *apdepth_version(void);

/* The options that apdepth_open takes for NULL: all zeros. */
APDEPTH_INLINE apdepth_options apdepth_default_options(void) {
    const apdepth_options options = {0, 0, 0, 0, 0, 0, 0, 0, 0};
    return options;
}

/* Open a bundle: read and check its manifest, check its files, and load its engine.
 *
 * bundle   the folder; UTF-8, ended by 0.
 * options  how, or NULL for the defaults. Not kept.
 * out      receives the handle, to be closed by apdepth_close; NULL where opening fails, whatever
 *          it held before: close an earlier handle first.
 *
 * Takes seconds for a full-size model. The first inference may take longer than later ones. On
 * TensorRT for RTX, kernels are compiled at the first start on a machine, and kept in the folder
 * that the Python package uses ($XDG_CACHE_HOME/apdepth-deploy); so is what OpenVINO compiles. Either
 * finds what the other left there.
 *
 * The NVIDIA driver is asked only where a GPU could run the bundle: not for device "cpu" or backend
 * "openvino", nor for "auto" where the bundle has no engine for this build.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, an empty path; an unknown backend, precision, device or
 *                        hint; too many threads or lanes; options that this version doesn't know.
 * APDEPTH_BUNDLE_ERROR   no bundle, a path that leaves it, a missing file, another size or hash, an
 *                        unknown schema_version. The message names it.
 * APDEPTH_BACKEND_ERROR  the backend isn't in this build, or can't run this bundle on this machine.
 */
APDEPTH_API apdepth_status apdepth_open_sized(const char *bundle, const apdepth_options *options,
                                              size_t size, apdepth_handle **out);
APDEPTH_INLINE apdepth_status apdepth_open(const char *bundle, const apdepth_options *options,
                                           apdepth_handle **out) {
    return apdepth_open_sized(bundle, options, sizeof(apdepth_options), out);
}

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

/* How a camera's pixels lie. YUV is BT.601 with limited range (ITU-R BT.601-7): a pixel takes the U and
 * V that it shares with its neighbours. */
typedef enum apdepth_format {
    APDEPTH_RGB = 0,  /* 3 bytes a pixel */
    APDEPTH_BGR = 1,  /* OpenCV's */
    APDEPTH_RGBA = 2, /* 4 bytes a pixel; what is in the fourth doesn't count */
    APDEPTH_BGRA = 3,
    APDEPTH_GREY = 4, /* 1 byte a pixel */
    APDEPTH_NV12 = 5, /* a plane of Y, and one of U V for each 2x2 pixels; even sides */
    APDEPTH_YUYV = 6, /* Y U Y V for each two pixels, as webcams give it; even width */
    APDEPTH_UYVY = 7  /* U Y V Y; even width */
} apdepth_format;

/* A frame in host memory, read only. Zeros stand for the default: `{data, height, width}` is RGB
 * without gaps. This struct doesn't grow. */
typedef struct apdepth_image {
    const uint8_t *data; /* the uppermost row */
    int height, width;   /* in pixels, 16 or more */
    ptrdiff_t
        stride; /* bytes from one row down to the next; 0: rows without gaps; below 0: upwards */
    apdepth_format format;
    const uint8_t *chroma;   /* NV12: the plane of U V; NULL: it follows height rows of Y */
    ptrdiff_t chroma_stride; /* NV12: from one row of U V down to the next; 0: as of Y */
} apdepth_image;

/* Depth of frames in host memory, of any format and size. Waits for it.
 *
 * images  `count` of them, whose sizes and formats may differ. Each is converted to RGB and resized to
 *         a size that the graph takes, as Python's predictor does it (to the byte). RGB of the graph's
 *         own size isn't copied on its way to a CPU engine.
 * depths  receives the depth of each, float32 [height][width] of the image's own size without gaps.
 *
 * A graph for several frames takes as many as it can at once, the rest of the last ones filled with
 * copies. Calls from several threads run side by side, as of apdepth_infer. After the first call with
 * frames of these sizes this library allocates nothing; the engine may.
 *
 * APDEPTH_USAGE_ERROR    a null pointer, a count below 1, an unknown format.
 * APDEPTH_IMAGE_ERROR    a side under 16 or one that the format can't have, a stride that is too small.
 * APDEPTH_BACKEND_ERROR  the engine failed: depths of earlier images may have been written.
 */
APDEPTH_API apdepth_status apdepth_infer_images(apdepth_handle *model, const apdepth_image *images,
                                                int count, float *const *depths);

/* How long a call took, in milliseconds. */
typedef struct apdepth_timings {
    double convert_ms; /* to RGB, and to the graph's size */
    double infer_ms;   /* by the engine, with copies from and to its memory */
    double resize_ms;  /* of depth, back to the frames' size */
} apdepth_timings;

/* Of this thread's last apdepth_infer or apdepth_infer_images that succeeded, on whatever handle; zeros
 * before. Fails for a null pointer alone (APDEPTH_USAGE_ERROR). */
APDEPTH_API apdepth_status apdepth_last_timings_sized(apdepth_timings *timings, size_t size);
APDEPTH_INLINE apdepth_status apdepth_last_timings(apdepth_timings *timings) {
    return apdepth_last_timings_sized(timings, sizeof(apdepth_timings));
}

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
APDEPTH_API apdepth_status apdepth_info_sized(const apdepth_handle *model, apdepth_model_info *info,
                                              size_t size);
APDEPTH_INLINE apdepth_status apdepth_info(const apdepth_handle *model, apdepth_model_info *info) {
    return apdepth_info_sized(model, info, sizeof(apdepth_model_info));
}

/* Why the last call on this thread that failed did so: one or two lines of UTF-8, never NULL. A call
 * that succeeds leaves it as it is: read it where a status says so. Valid until this thread's next
 * call of a function that returns a status. */
APDEPTH_API const char *apdepth_last_error(void);

/* Free the handle and its engine; waits for what apdepth_infer_async queued. NULL is no error. */
APDEPTH_API void apdepth_close(apdepth_handle *model);

#ifdef __cplusplus
}
#endif

#include "apdepth_metric.h" /* metres, a steady stream, points: what follows depth */

#endif
