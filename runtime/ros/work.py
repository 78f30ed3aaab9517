"""An image message to its depth, steadied, and to the fit that makes metres of it. Knows no ROS."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from apdepth_deploy.errors import ApDepthError, ImageError
from apdepth_deploy.pictures.image import DepthArray, ImageArray, Reading

from ..each import predict
from ..feeds.search import Job
from ..metric.camera import Camera
from ..metric.ground import fit_ground, up_vector
from ..metric.metres import Fit, fit_metres, no_fit
from ..metric.stabilizer import Stabilizer
from ..metric.tracking import FitFilter
from ..predictor import Predictor
from ..stream import Stream
from .anchors import Transform, anchors_of_depth, anchors_of_points, points_of
from .pixels import rgb_of

#: Messages that are kept of each kind, for an image that waited while newer ones came.
_KEPT = 8

Message = TypeVar("Message")


class Frame(NamedTuple):
    """``message``: sensor_msgs/Image; ``captured``: when it was there, by ``time.monotonic()``."""

    message: Any
    captured: float


class Done(NamedTuple):
    """uint8 [H,W,3]; relative depth float32 [H,W]; its fit, valid or not; camera_info's message and
    camera, where there are."""

    image: ImageArray
    depth: DepthArray
    fit: Fit
    info: Any
    camera: Camera | None


def seconds_of(message: Any) -> float:
    """When a message's header says it was."""
    stamp = message.header.stamp
    return float(stamp.sec + 1e-9 * stamp.nanosec)


class Recent(Generic[Message]):
    """The last messages of a topic."""

    def __init__(self) -> None:
        self._kept: deque[Message] = deque(maxlen=_KEPT)

    def add(self, message: Message) -> None:
        """The newest."""
        self._kept.append(message)

    def near(self, seconds: float, tolerance: float) -> Message | None:
        """The one whose header is nearest in time; None where none is near enough."""

        def distance(message: Message) -> float:
            return abs(seconds_of(message) - seconds)

        nearest = min(reversed(tuple(self._kept)), key=distance, default=None)
        return None if nearest is None or distance(nearest) > tolerance else nearest


class Work:
    """One stream's. Its inputs may be added to from another thread.

    Attributes:
        infos, depths, points: what came beside the images.
        why: what was wrong last with something beside the images, in words.
        fit_age: seconds since a fit was last believed; infinite before the first.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: Mapping[str, Any],
        transform: Callable[[str, Any], Transform],
    ) -> None:
        """
        Args:
            settings: parameters by name, as they are now.
            transform: (frame of the images, points' header) -> points to the camera's optical
            frame; ImageError where it isn't known.
        """
        self._predictor, self._settings, self._transform = predictor, settings, transform
        self.infos: Recent[Any] = Recent()
        self.depths: Recent[Any] = Recent()
        self.points: Recent[Any] = Recent()
        self.why = ""
        self._number = 0
        self._seconds, self._last = 0.0, (math.inf, math.inf)

    @property
    def fit_age(self) -> float:
        return self._fits.age if self._number else math.inf

    def __call__(self, frame: Frame) -> Done:
        """Raises ImageError for a message without a picture, or depth that is no number."""
        message = frame.message
        image = rgb_of(message)
        job = self._job(frame)
        depth = predict(self._predictor, Reading(image, 1, several=False), job)
        depth = self._stream.depth(image, depth)
        self.why = ""
        info, camera = self._camera(message)
        fit = self._stream.fit(self._own_fit(message, depth, camera), job)
        return Done(image, depth, fit, info, camera)

    def _job(self, frame: Frame) -> Job:
        """Its time grows with the headers' or with the clock, whichever goes faster: a fit is never
        held for longer than it should be. Where the headers go back, a new stream begins."""
        stamp = seconds_of(frame.message)
        passed = stamp - self._last[0], frame.captured - self._last[1]
        if not self._number or passed[0] < 0 or self._steady != self._settings["steady"]:
            self._begin()
        else:
            self._seconds += max(passed)
        self._fits.hold = self._settings["hold"]
        self._last, self._number = (stamp, frame.captured), self._number + 1
        return Job(Path("image"), "image").at(self._number - 1, self._seconds)

    def _begin(self) -> None:
        self._steady = self._settings["steady"]
        self._fits = FitFilter()
        self._stream = Stream(Stabilizer() if self._steady else None, self._fits)

    def _camera(self, message: Any) -> tuple[Any, Camera | None]:
        info = self.infos.near(seconds_of(message), self._settings["camera_info_tolerance"])
        if info is None:
            return None, None
        try:
            return info, camera_of(info, message.width, message.height)
        except ApDepthError as error:
            self.why = str(error)
            return None, None

    def _own_fit(self, message: Any, depth: DepthArray, camera: Camera | None) -> Fit:
        """This image's, from the first there is of a depth image, points, and the ground."""
        seconds, settings = seconds_of(message), self._settings
        shape, height = (message.height, message.width), settings["camera_height"]
        near = settings["anchors_tolerance"]
        try:
            if (sparse := self.depths.near(seconds, near)) is not None:
                return fit_metres(depth, anchors_of_depth(sparse, shape))
            if (points := self.points.near(seconds, near)) is not None:
                moved = self._transform(message.header.frame_id, points.header)(points_of(points))
                return fit_metres(depth, anchors_of_points(moved, _needed(camera)))
            if height > 0.0:
                up = up_vector(settings["pitch"], settings["roll"])
                return fit_ground(depth, _needed(camera), height, up)
        except ApDepthError as error:
            self.why = str(error)
            return no_fit(self.why)
        return no_fit(f"no anchors within {near:g} s of the image, and no camera_height")


def _needed(camera: Camera | None) -> Camera:
    if camera is None:
        raise ImageError("points and the ground need a camera_info of the image's size and time")
    return camera


def camera_of(info: Any, width: int, height: int) -> Camera:
    """A CameraInfo's: of its projection matrix, or K where that is 0.

    Raises ImageError where it is of another size than the image; UsageError where it isn't
    calibrated.
    """
    if (info.width, info.height) != (width, height):
        raise ImageError(
            f"camera_info is of {info.width}x{info.height} pixels, the image of {width}x{height}"
        )
    p, k = info.p, info.k
    numbers = (p[0], p[5], p[2], p[6]) if p[0] else (k[0], k[4], k[2], k[5])
    fx, fy, cx, cy = (float(number) for number in numbers)
    return Camera(fx, fy, cx, cy, width, height)
