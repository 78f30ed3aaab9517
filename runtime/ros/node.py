"""The node: what comes, the newest image to a thread that makes depth of it, what goes out."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import ApDepthError, UsageError

from ..choice import load
from ..feeds.newest import Slot
from ..live.rates import Rates
from ..metric.metres import Fit, no_fit
from ..metric.points import cloud
from ..predictor import Predictor
from .contract import DIAGNOSTICS, NODE, TOPICS, TopicRule
from .messages import depth_image, millimetres_image, point_cloud, status
from .parameters import declare
from .transforms import Transforms
from .work import Done, Frame, Work

_TYPES = {"Image": Image, "CameraInfo": CameraInfo, "PointCloud2": PointCloud2}
_TYPES["DiagnosticArray"] = DiagnosticArray
#: Who listens to one of these makes the node work.
_DEPTHS = [name for way, name in TOPICS if way == "out" and name != "/diagnostics"]
#: A complaint is not repeated for so many seconds.
_AGAIN = 10.0
#: Seconds that a frame in flight, or an engine that is being opened, is waited for at the end.
_LEAVE = 10.0


class DepthNode(Node):
    """Runs while it is entered. Its messages are handled by whoever spins it.

    Attributes:
        failure: why there will be no depth, or None: the engine can't be opened.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        """``given``: parameters by name, before those of the command line and of files.

        Raises UsageError for parameters that can't be, BundleError for a bundle that isn't one.
        """
        told = [Parameter(name, value=value) for name, value in given.items()]
        super().__init__(NODE, parameter_overrides=told)
        self._settings = declare(self)
        if not self._settings["bundle"]:
            raise UsageError("which bundle? apdepth-deploy ros BUNDLE, or -p bundle:=FOLDER")
        Bundle.open(self._settings["bundle"])  # what is wrong with it is said at once
        self.failure: Exception | None = None
        self._slot: Slot[Frame] = Slot()
        self._stop = threading.Event()
        self._work: Work | None = None
        self._lock = threading.Lock()
        self._rates, self._fit, self._fit_age = Rates(), no_fit("no depth yet"), math.inf
        self._images = self._depths = self._failed = 0
        self._before, self._why, self._engine = (0, 0), "", ""
        self._transforms = Transforms(self, self._settings)
        self._outputs = {n: self._publisher(t) for (d, n), t in TOPICS.items() if d == "out"}
        self._subscribe("image", self._take_image)
        self._subscribe("camera_info", lambda work, message: work.infos.add(message))
        self._subscribe("anchors/depth", lambda work, message: work.depths.add(message))
        self._subscribe("anchors/points", self._take_points)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._diagnose, clock=steady)
        self._thread = threading.Thread(target=self._run, name="depth", daemon=True)

    def __enter__(self) -> DepthNode:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._slot.close()
        self._thread.join(_LEAVE)
        self.destroy_node()

    def _topic(self, rule: TopicRule) -> str:
        """A camera_info lies beside its image, unless it was remapped itself."""
        own = rule.name
        remapped = self.resolve_topic_name(own) != self.resolve_topic_name(own, only_expand=True)
        if rule.beside is None or remapped:
            return own
        place = PurePosixPath(self.resolve_topic_name(rule.beside)).parent
        return str(place / PurePosixPath(own).name)

    def _qos(self, rule: TopicRule) -> dict[str, Any]:
        reliability = QoSReliabilityPolicy[rule.reliability.upper()]
        return {
            "qos_profile": QoSProfile(depth=rule.depth, reliability=reliability),
            "qos_overriding_options": QoSOverridingOptions.with_default_policies(),
        }

    def _publisher(self, rule: TopicRule) -> Any:
        kind = _TYPES[rule.type.rpartition("/")[2]]
        return self.create_publisher(kind, self._topic(rule), **self._qos(rule))

    def _subscribe(self, name: str, take: Any) -> None:
        rule = TOPICS["in", name]

        def taken(message: Any) -> None:
            if self._work is not None:
                take(self._work, message)

        kind = _TYPES[rule.type.rpartition("/")[2]]
        self.create_subscription(kind, self._topic(rule), taken, **self._qos(rule))

    def _take_image(self, work: Work, message: Any) -> None:
        captured = time.monotonic()
        if self._is_heard(*_DEPTHS):
            self._images += 1
            self._slot.put(Frame(message, captured))

    def _take_points(self, work: Work, message: Any) -> None:
        self._transforms.listen()
        work.points.add(message)

    def _run(self) -> None:
        """The thread that makes depth: opens the engine, then takes the newest image, for ever."""
        try:
            named = {name: self._settings[name] for name in ("backend", "device")}
            named |= {n: self._settings[n] or None for n in ("precision", "threads")}
            predictor = load(self._settings["bundle"], **named)
        except Exception as error:  # noqa: BLE001 - the other thread raises it
            self.failure = error
            return
        with predictor:
            self._engine = predictor.reason
            self.get_logger().info(f"ready: {predictor.reason}")
            for warning in predictor.warnings:
                self.get_logger().warning(warning)
            self._work = Work(predictor, self._settings, self._transforms)
            while not self._stop.is_set():
                frame = self._slot.take()
                begun = time.monotonic()
                if frame is not None:
                    self._one(predictor, self._work, frame)
                    self._engine = predictor.reason
                rate = self._settings["rate"]
                if rate:
                    self._stop.wait(max(0.0, begun + 1.0 / rate - time.monotonic()))

    def _one(self, predictor: Predictor, work: Work, frame: Frame) -> None:
        try:
            done = work(frame)
            self._publish(predictor, done, frame.message.header)
        except Exception as error:  # noqa: BLE001 - one image's failure ends nothing
            words = str(error) if isinstance(error, ApDepthError) else repr(error)
            self._failed, self._why = self._failed + 1, words
            self.get_logger().warning(f"no depth: {words}", throttle_duration_sec=_AGAIN)
            return
        if work.why:
            self._why = work.why
            self.get_logger().warning(work.why, throttle_duration_sec=_AGAIN)
        latency = time.monotonic() - frame.captured
        now, taken = self.get_clock().now(), Time.from_msg(frame.message.header.stamp)
        age = (now - taken).nanoseconds * 1e-9 if taken.nanoseconds else latency
        with self._lock:
            self._rates.add(latency, age)
            self._depths, self._fit, self._fit_age = self._depths + 1, done.fit, work.fit_age

    def _publish(self, predictor: Predictor, done: Done, header: Any) -> None:
        self._outputs["relative_depth/image_raw"].publish(depth_image(done.depth, header))
        if not done.fit.valid:
            return
        metres = done.fit.metres(done.depth)
        millimetres = self._settings["depth_encoding"] == "16UC1"
        make = millimetres_image if millimetres else depth_image
        self._outputs["depth/image_rect"].publish(make(metres, header))
        if done.camera is None:
            return
        self._outputs["depth/camera_info"].publish(_with_header(done.info, header))
        if self._outputs["points"].get_subscription_count():
            size = predictor.frame_size or metres.shape
            spacing = max(-(-own // seen) for own, seen in zip(metres.shape, size, strict=True))
            every = self._settings["points_every"]
            points = cloud(metres, done.image, done.camera, spacing=spacing, every=every)
            self._outputs["points"].publish(point_cloud(points, header))

    def _is_heard(self, *names: str) -> bool:
        return any(self._outputs[name].get_subscription_count() for name in names)

    def _diagnose(self) -> None:
        with self._lock:
            rate, fit, fit_age = self._rates.second(self._slot.dropped), self._fit, self._fit_age
        level, words = self._health(fit)
        self._before = self._images, self._failed
        numbers = (rate.fps, rate.p50, rate.p99, rate.age, self._images, self._depths)
        of_fit = (fit.scale, fit.shift, fit.anchors, fit.inliers, fit.median_error)
        state = "valid" if fit.valid else fit.why
        counts = (self._slot.dropped, self._failed, self._why, state, fit_age)
        told = dict(zip(DIAGNOSTICS, (self._engine, *numbers, *counts, *of_fit), strict=True))
        name = f"{self.get_fully_qualified_name().lstrip('/')}: depth"
        message = DiagnosticArray(
            status=[status(name, self._settings["bundle"], level, words, told)]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._outputs["/diagnostics"].publish(message)

    def _health(self, fit: Fit) -> tuple[str, str]:
        """Of the last second: a level, and words."""
        if not self._engine:
            return "WARN", "opening the engine"
        if not self._is_heard(*_DEPTHS):
            return "OK", "nobody listens"
        if self._failed > self._before[1]:
            return "WARN", f"no depth: {self._why}"
        if self._images == self._before[0]:
            return "WARN", "no images"
        if not fit.valid and self._is_heard("depth/image_rect", "points"):
            return "WARN", f"no metres: {fit.why}"
        return "OK", "depth"


def _with_header(info: Any, header: Any) -> Any:
    found = copy.copy(info)
    found.header = header
    return found
