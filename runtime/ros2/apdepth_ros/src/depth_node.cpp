// ROS around DepthWorker: topics and parameters, and nothing else.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <apdepth.hpp>
#include <image_transport/image_transport.hpp>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/camera_info.hpp>
#include <sensor_msgs/msg/image.hpp>

#include "apdepth_ros/depth_worker.hpp"
#include "apdepth_ros/image_layout.hpp"

namespace apdepth_ros {

using sensor_msgs::msg::CameraInfo;
using sensor_msgs::msg::Image;

// Subscribes to "image" and the camera_info beside it; publishes "depth/image" (32FC1, 0 near .. 1
// far, with the image's header), and the image's camera_info as "depth/camera_info".
class DepthNode : public rclcpp::Node {
  public:
    explicit DepthNode(const rclcpp::NodeOptions &options)
        : Node("apdepth", options), predictor_(open()) {
        RCLCPP_INFO(get_logger(), "%s", predictor_.info().reason);
        if (predictor_.info().random_weights != 0)
            RCLCPP_WARN(get_logger(), "random weights: this depth means nothing");
        const auto qos = rmw_qos_profile_sensor_data;
        publisher_ = image_transport::create_camera_publisher(this, "depth/image", qos);
        worker_ = std::make_unique<DepthWorker>(
            [this](const Frame &frame, std::vector<float> &depth) { predict(frame, depth); },
            [this](const Frame &frame, const std::vector<float> &depth) { publish(frame, depth); },
            [this](const Frame &, const std::string &why) { complain(why); },
            declare_parameter<double>("rate", 0.0));
        const auto transport = declare_parameter<std::string>("image_transport", "raw");
        subscriber_ = image_transport::create_camera_subscription(
            this, "image",
            [this](const Image::ConstSharedPtr &image, const CameraInfo::ConstSharedPtr &camera) {
                take(image, camera);
            },
            transport, qos);
    }

    ~DepthNode() override {
        subscriber_.shutdown();
        worker_.reset();
    }

  private:
    using Source = std::pair<Image::ConstSharedPtr, CameraInfo::ConstSharedPtr>;

    apdepth::Predictor open() {
        const auto bundle = declare_parameter<std::string>("bundle");
        const auto backend = declare_parameter<std::string>("backend", "auto");
        apdepth_options chosen = apdepth_default_options();
        chosen.backend = backend.c_str();
        return apdepth::Predictor(bundle, chosen);
    }

    void take(const Image::ConstSharedPtr &image, const CameraInfo::ConstSharedPtr &camera) {
        const ImageRows rows{image->data.data(),
                             image->data.size(),
                             static_cast<int>(image->height),
                             static_cast<int>(image->width),
                             image->step,
                             image->encoding};
        if (const auto fault = fault_of(rows)) return complain(*fault);
        Frame frame;
        frame.height = rows.height;
        frame.width = rows.width;
        frame.context = std::make_shared<const Source>(image, camera);
        to_rgb(rows, frame.rgb);
        worker_->submit(std::move(frame));
    }

    void predict(const Frame &frame, std::vector<float> &depth) {
        depth.resize(static_cast<std::size_t>(frame.height) *
                     static_cast<std::size_t>(frame.width));
        predictor_.infer({frame.rgb.data(), frame.height, frame.width}, depth);
    }

    void publish(const Frame &frame, const std::vector<float> &depth) {
        const auto &[image, camera] = *std::static_pointer_cast<const Source>(frame.context);
        auto message = std::make_shared<Image>();
        message->header = image->header;
        message->height = image->height;
        message->width = image->width;
        message->encoding = "32FC1";
        message->is_bigendian = 0;
        message->step = image->width * static_cast<unsigned>(sizeof(float));
        message->data.resize(depth.size() * sizeof(float));
        std::memcpy(message->data.data(), depth.data(), message->data.size());
        publisher_.publish(message, camera);
    }

    void complain(const std::string &why) {
        RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", why.c_str());
    }

    apdepth::Predictor predictor_;
    image_transport::CameraPublisher publisher_;
    image_transport::CameraSubscriber subscriber_;
    std::unique_ptr<DepthWorker> worker_;
};

}  // namespace apdepth_ros

RCLCPP_COMPONENTS_REGISTER_NODE(apdepth_ros::DepthNode)
