"""ros2 launch PATH/depth.launch.py bundle:=FOLDER camera:=/camera [params:=FILE]

Depth of CAMERA/image_rect_color (and its camera_info), under CAMERA.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration

DEFAULTS = str(Path(__file__).with_name("depth.yaml"))


def generate_launch_description():
    bundle, camera = LaunchConfiguration("bundle"), LaunchConfiguration("camera")
    image, params = LaunchConfiguration("image"), LaunchConfiguration("params")
    command = ["apdepth-deploy", "ros", bundle, "--ros-args", "--params-file", params]
    command += ["-r", ["__ns:=", camera], "-r", ["image:=", camera, "/", image]]
    return LaunchDescription(
        [
            DeclareLaunchArgument("bundle", description="Folder that export wrote."),
            DeclareLaunchArgument("camera", default_value="/camera"),
            DeclareLaunchArgument("image", default_value="image_rect_color"),
            DeclareLaunchArgument("params", default_value=DEFAULTS),
            ExecuteProcess(cmd=command, output="screen"),
        ]
    )
