"""``apdepth-deploy ros``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from apdepth_deploy.errors import UsageError

from ..each import Backend, Device, Precision, Threads
from ..live.loop import asked_to_end

app = typer.Typer(add_completion=False)
#: Where Ctrl-C comes while nothing does: seconds until it is seen.
_LOOK = 0.1


class RosCommand(TyperCommand):
    """What stands from ``--ros-args`` on, to a ``--``, goes to ROS as it is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own, theirs = split_ros_args(args)
        ctx.obj = theirs
        return super().parse_args(ctx, own)


def split_ros_args(args: list[str]) -> tuple[list[str], list[str]]:
    """(ours, what ROS takes: each part from ``--ros-args`` up to ``--`` or the end)."""
    own: list[str] = []
    theirs: list[str] = []
    for_ros = False
    for word in args:
        if word == "--ros-args":
            for_ros = True
        (theirs if for_ros else own).append(word)
        if for_ros and word == "--":
            for_ros = False
    return own, theirs


@app.command(cls=RosCommand)
def ros(
    ctx: typer.Context,
    bundle: Annotated[
        Path | None, typer.Argument(help="Folder that export wrote; or -p bundle:=FOLDER.")
    ] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = None,
    threads: Threads = None,
) -> None:
    """A ROS 2 node: depth of a camera's images. From --ros-args on, ROS reads the command.

    It takes image and camera_info, and gives relative_depth/image_raw; with anchors also
    depth/image_rect and points, in metres: docs/ros.md. Ctrl-C ends it.
    """
    named = {"backend": backend, "device": device, "precision": precision, "threads": threads}
    given = {name: value for name, value in named.items() if value not in (None, "auto")}
    if bundle is not None:
        given["bundle"] = str(bundle)
    _run(given, ctx.obj)


def _run(given: dict[str, Any], ros_args: list[str]) -> None:
    """Until a signal comes. Raises UsageError for what ROS refuses, and why no engine opens."""
    try:
        import rclpy
        from rclpy.exceptions import InvalidParameterException, NameValidationException
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from .node import DepthNode
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed: source a ROS 2 installation "
            "(source /opt/ros/jazzy/setup.bash), or pip install 'apdepth-deploy[ros]'"
        ) from error
    node = None
    with asked_to_end() as end:
        try:
            rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
            node = DepthNode(given)
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            with node:
                while not end.is_set() and node.failure is None:
                    executor.spin_once(timeout_sec=_LOOK)
        except (RuntimeError, NameValidationException, InvalidParameterException) as error:
            if node is not None:
                raise
            raise UsageError(f"ROS: {' '.join(str(error).split())}") from error
        finally:
            rclpy.try_shutdown()
    if node.failure is not None:
        raise node.failure
