// apdepth.h for C++17: a class that closes itself, views instead of pointers, exceptions instead of
// codes. Everything here is in the header, on top of the C API; see apdepth.h for the rules.
//
//     apdepth::Predictor predictor("bundle");
//     std::vector<float> depth = predictor(apdepth::ImageView{rgb, height, width});
//
//     apdepth::Metric metric;
//     const apdepth_fit_result fit = metric.fit({depth, height, width}, anchors);
//     std::vector<float> metres = metric.metres({depth, height, width});  // NaN where not known
//
//     apdepth::Stabilizer stabilizer;  // one for each stream
//     depth = stabilizer({rgb, height, width}, depth);
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "apdepth.h"

namespace apdepth {

// A call that failed. what() is apdepth_last_error().
class Error : public std::runtime_error {
  public:
    Error(apdepth_status status, const char *message)
        : std::runtime_error(message), status_(status) {}
    apdepth_status status() const noexcept { return status_; }

  private:
    apdepth_status status_;
};

// A frame of somebody else's, uint8 RGB; `stride` in bytes, 0 for rows without gaps.
struct ImageView {
    const std::uint8_t *data;
    int height;
    int width;
    std::size_t stride = 0;
};

// Room for `size` floats, of somebody else's: as std::span<float>.
class DepthView {
  public:
    DepthView(float *data, std::size_t size) : data_(data), size_(size) {}
    DepthView(std::vector<float> &depth) : DepthView(depth.data(), depth.size()) {}
    float *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

  private:
    float *data_;
    std::size_t size_;
};

// A call's status, thrown where it isn't APDEPTH_OK.
inline void check(apdepth_status status) {
    if (status != APDEPTH_OK) throw Error(status, apdepth_last_error());
}

// An opened bundle. May be shared by threads; must not be moved from or destroyed while one infers.
// Its functions throw Error and nothing else.
class Predictor {
  public:
    explicit Predictor(const std::string &bundle, const apdepth_options &options = {}) {
        apdepth_handle *opened = nullptr;
        check(apdepth_open(bundle.c_str(), &options, &opened));
        model_.reset(opened);
    }

    // float32 [height][width], 0 near .. 1 far.
    std::vector<float> operator()(const ImageView &image) const {
        std::vector<float> depth = room(image);
        infer(image, depth);
        return depth;
    }

    // The same into memory of the caller's, of height * width floats.
    void infer(const ImageView &image, DepthView depth) const {
        const auto height = static_cast<std::size_t>(image.height);
        const auto width = static_cast<std::size_t>(image.width);
        if (takes(image) && depth.size() / width < height)
            throw Error(APDEPTH_USAGE_ERROR, "depth has less room than height * width floats");
        const std::size_t stride = image.stride == 0 ? 3 * width : image.stride;
        check(apdepth_infer(model_.get(), image.data, image.height, image.width, stride,
                            depth.data()));
    }

    // Depth of a frame in any format and of any size, float32 of the frame's own: see
    // apdepth_infer_images. Throws std::bad_alloc where there is no room for it.
    std::vector<float> depth(const apdepth_image &image) const {
        const bool is_frame = image.height > 0 && image.width > 0;
        std::vector<float> found(is_frame ? static_cast<std::size_t>(image.height) *
                                                static_cast<std::size_t>(image.width)
                                          : 1);
        float *const depths[] = {found.data()};
        infer(&image, 1, depths);
        return found;
    }

    // Several at once, into memory of the caller's.
    void infer(const apdepth_image *images, int count, float *const *depths) const {
        check(apdepth_infer_images(model_.get(), images, count, depths));
    }

    // Of this thread's last frames, in milliseconds.
    apdepth_timings timings() const {
        apdepth_timings found;
        check(apdepth_last_timings(&found));
        return found;
    }

    // Frames and depth on the GPU, on the caller's stream: see apdepth_infer_async.
    void infer_async(const std::uint8_t *rgb, int batch, int height, int width, float *depth,
                     void *cuda_stream) const {
        check(apdepth_infer_async(model_.get(), rgb, batch, height, width, depth, cuda_stream));
    }

    // Its strings live as long as this object.
    apdepth_model_info info() const {
        apdepth_model_info found;
        check(apdepth_info(model_.get(), &found));
        return found;
    }

  private:
    struct Close {
        void operator()(apdepth_handle *model) const noexcept { apdepth_close(model); }
    };

    bool takes(const ImageView &image) const {
        const apdepth_model_info found = info();
        const auto within = [](int side, const apdepth_range &range) {
            return range.min <= side && side <= range.max;
        };
        return within(image.height, found.height) && within(image.width, found.width);
    }

    // Memory for a frame's depth; none for a size that the graph doesn't take, so that a wrong size
    // is refused by that name and not for want of memory.
    std::vector<float> room(const ImageView &image) const {
        if (!takes(image)) return {};
        try {
            return std::vector<float>(static_cast<std::size_t>(image.height) *
                                      static_cast<std::size_t>(image.width));
        } catch (const std::exception &) {  // bad_alloc, or length_error
            throw Error(APDEPTH_MEMORY_ERROR, "no memory left for this frame's depth");
        }
    }

    std::unique_ptr<apdepth_handle, Close> model_;
};

// Relative depth of somebody else's, float32 without gaps.
struct Depth {
    Depth(const float *pixels, int rows, int columns)
        : data(pixels), size(size_of(rows, columns)), height(rows), width(columns) {}
    // Of as many values as there are pixels.
    Depth(const std::vector<float> &depth, int rows, int columns)
        : Depth(depth.data(), rows, columns) {
        if (depth.size() != size)
            throw Error(APDEPTH_IMAGE_ERROR, "depth has another size than height * width floats");
    }

    const float *data;
    std::size_t size;
    int height;
    int width;

  private:
    static std::size_t size_of(int height, int width) {
        return height > 0 && width > 0
                   ? static_cast<std::size_t>(height) * static_cast<std::size_t>(width)
                   : 0;
    }
};

// Metres from anchors, of one frame after the other: see apdepth_metric. For one thread at a time.
// Its functions throw Error, and std::bad_alloc for memory that they return.
class Metric {
  public:
    Metric() {
        apdepth_metric *made = nullptr;
        check(apdepth_metric_new(&made));
        metric_.reset(made);
    }

    // `why` lives until the next fit. Anchors that tell nothing are no error, but not `valid`.
    apdepth_fit_result fit(const Depth &depth, const apdepth_anchor *anchors, int count,
                           const apdepth_fit_options &options = {}) {
        apdepth_fit_result found;
        check(apdepth_fit(metric_.get(), depth.data, depth.height, depth.width, anchors, count,
                          &options, &found));
        return found;
    }
    apdepth_fit_result fit(const Depth &depth, const std::vector<apdepth_anchor> &anchors,
                           const apdepth_fit_options &options = {}) {
        if (anchors.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
            throw Error(APDEPTH_USAGE_ERROR, "there are more anchors than an int counts");
        return fit(depth, anchors.data(), static_cast<int>(anchors.size()), options);
    }

    // float32 [height][width], NaN where not known.
    std::vector<float> metres(const Depth &depth) {
        std::vector<float> found(depth.size);
        metres(depth, found);
        return found;
    }

    // The same into memory of the caller's, of height * width floats; may be that of depth.
    void metres(const Depth &depth, DepthView metres) {
        if (metres.size() < depth.size)
            throw Error(APDEPTH_USAGE_ERROR, "metres have less room than height * width floats");
        check(apdepth_metres(metric_.get(), depth.data, depth.height, depth.width, metres.data()));
    }

  private:
    struct Close {
        void operator()(apdepth_metric *metric) const noexcept { apdepth_metric_close(metric); }
    };

    std::unique_ptr<apdepth_metric, Close> metric_;
};

namespace detail {

inline std::size_t row_stride(const ImageView &image) {
    return image.stride == 0 ? 3 * static_cast<std::size_t>(image.width) : image.stride;
}

// Throws Error where `size` is less than the picture's pixels.
inline void check_room(const ImageView &image, std::size_t size, const char *name) {
    if (image.height > 0 && image.width > 0 &&
        size / static_cast<std::size_t>(image.width) < static_cast<std::size_t>(image.height))
        throw Error(APDEPTH_IMAGE_ERROR,
                    (std::string(name) + " has less than height * width floats").c_str());
}

}  // namespace detail

// The relative depth of one stream, frame after frame, made steadier: see apdepth_stabilizer. For one
// thread at a time. Its functions throw Error, and std::bad_alloc for memory that they return.
class Stabilizer {
  public:
    Stabilizer() {
        apdepth_stabilizer *made = nullptr;
        check(apdepth_stabilizer_new(&made));
        stabilizer_.reset(made);
    }

    // float32 [height][width], from as much.
    std::vector<float> operator()(const ImageView &image, const std::vector<float> &depth) {
        std::vector<float> result(depth.size());
        steady(image, depth, result);
        return result;
    }

    // The same into memory of the caller's; may be that of depth.
    void steady(const ImageView &image, const std::vector<float> &depth, DepthView result) {
        detail::check_room(image, depth.size(), "depth");
        detail::check_room(image, result.size(), "the result");
        steady(image, depth.data(), result.data());
    }

    // The same where both are of height * width floats: nobody counts them.
    void steady(const ImageView &image, const float *depth, float *result) {
        check(apdepth_stabilize(stabilizer_.get(), image.data, image.height, image.width,
                                detail::row_stride(image), depth, result));
    }

    // Frames since the start or the last cut: 1 where the last result is that frame's own depth.
    long long age() const {
        long long found = 0;
        check(apdepth_stabilizer_age(stabilizer_.get(), &found));
        return found;
    }

    // The next frame is a start.
    void reset() { check(apdepth_stabilizer_reset(stabilizer_.get())); }

  private:
    struct Close {
        void operator()(apdepth_stabilizer *stabilizer) const noexcept {
            apdepth_stabilizer_close(stabilizer);
        }
    };

    std::unique_ptr<apdepth_stabilizer, Close> stabilizer_;
};

// Points of a picture: x right, y down, z forward, three floats each; and three bytes of colour each.
struct Cloud {
    std::size_t size = 0;
    std::vector<float> xyz;
    std::vector<std::uint8_t> rgb;
};

// The points of one picture, without those in the air behind edges: see apdepth_points. `z` has
// height * width floats; an image without data gives no colours. A cloud that is given again and
// again keeps its memory.
inline void points(const std::vector<float> &z, const ImageView &image,
                   const apdepth_camera &camera, const apdepth_point_options &options,
                   Cloud &cloud) {
    detail::check_room(image, z.size(), "z");
    cloud.size = 0;
    if (cloud.xyz.size() < 3 * z.size()) cloud.xyz.resize(3 * z.size());
    if (image.data != nullptr && cloud.rgb.size() < 3 * z.size()) cloud.rgb.resize(3 * z.size());
    check(apdepth_points(z.data(), image.data, image.height, image.width, detail::row_stride(image),
                         &camera, &options, cloud.xyz.data(), cloud.rgb.data(), &cloud.size));
}

}  // namespace apdepth
