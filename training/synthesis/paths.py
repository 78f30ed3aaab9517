"""A camera that moves through a scene, and what it sees: pictures, exact depth, where it was."""

from __future__ import annotations

import dataclasses

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.pictures.image import ImageArray

from .objects.world import Look, Place, World
from .render import (
    Frame,
    denoise,
    develop,
    draw_scene,
    exposure,
    find_view,
    render_depth,
    render_light,
)
from .scenes import View

#: Standard deviation of a camera's noise, of 255.
_NOISE = 2.5
#: Distance and size of what enters, in units of how near the scene begins.
_ENTERS_AT, _ENTERS_AS = 0.55, 0.2


@dataclasses.dataclass(frozen=True)
class _Motion:
    """How a camera moves. Distances are in units of how near the scene begins.

    Attributes:
        shake: degrees, the standard deviation of its turns.
        drift: of its place.
        pan: degrees to the right a frame.
        travel: forward, on the whole path.
    """

    shake: float
    drift: float
    pan: float = 0.0
    travel: float = 0.0


_HAND = _Motion(shake=0.5, drift=0.008)
_MOTIONS = {
    "handheld": _HAND,
    "pan": _Motion(shake=0.15, drift=0.0, pan=0.6),
    "drive": _Motion(shake=0.15, drift=0.002, travel=0.5),
    "cut": _HAND,
    "enter": _HAND,
}


def render_path(
    seed: tuple[int, ...], path: str, frames: int, size: tuple[int, int], spp: int
) -> list[Frame]:
    """The frames along a path through the scene that ``seed`` draws: the same each time.

    Exposed as the first frame is (behind a cut anew), with a camera's noise. "cut": from the middle
    on it is elsewhere in the scene; "enter": a box crosses the picture near the camera.

    Args:
        path: one of ``dataset.PATHS``.
        size: height and width in pixels.
        spp: light paths per pixel.
    """
    rng = np.random.default_rng(seed)
    design, world, draw = draw_scene(rng)
    scene = world.scene()
    start, depth = find_view(scene, design, draw, rng, size)
    near = float(np.quantile(depth[depth > 0], 0.1))
    cut = frames // 2 if path == "cut" else frames
    later = start
    if cut < frames:  # by the same camera
        later = dataclasses.replace(find_view(scene, design, draw, rng, size)[0], fov=start.fov)
    starts = [start if number < cut else later for number in range(frames)]
    views = _views(starts, _MOTIONS[path], near, rng)
    look = world.look() if path == "enter" else None
    factor = 1.0
    found = []
    for number, view in enumerate(views):
        if look is not None:
            scene = _with_box(world, look, start, near, number / max(frames - 1, 1))
        depth = render_depth(scene, view, size, design.far)
        light = denoise(render_light(scene, view, size, spp, design.max_depth, number))
        if number in (0, cut):
            factor = exposure(light, depth > 0)
        found.append(Frame(view, _noisy(develop(light, factor), rng), depth))
    return found


def _views(
    starts: list[View], motion: _Motion, near: float, rng: np.random.Generator
) -> list[View]:
    count = len(starts)
    turns = np.radians(motion.shake) * _wander(rng, count, 6)
    places = motion.drift * near * _wander(rng, count, 12)
    views = []
    for number, (start, turn, place) in enumerate(zip(starts, turns, places, strict=True)):
        right, down, forward = start.pose()[:3, :3].T
        pan = np.radians(motion.pan) * number
        axis = forward + np.tan(turn[0] + pan) * right + np.tan(turn[1]) * down
        travel = motion.travel * near * number / count
        origin = np.array(start.origin) + place + travel * forward
        roll = start.roll + float(np.degrees(turn[2])) / 2
        views.append(View(tuple(origin), tuple(origin + axis), roll, start.fov))
    return views


def _wander(rng: np.random.Generator, count: int, steps: int) -> NDArray[np.float64]:
    """[count,3]: smooth, by chance, of standard deviation 1; alike for about so many steps."""
    window = np.hanning(2 * steps + 1)
    noise = rng.normal(size=(count + 2 * steps, 3))
    smooth = [np.convolve(column, window / np.linalg.norm(window), "valid") for column in noise.T]
    return np.stack(smooth, axis=1)


def _with_box(world: World, look: Look, view: View, near: float, share: float) -> mi.Scene:
    """The scene with a box that has crossed that share of the first view, left to right."""
    right, down, forward = view.pose()[:3, :3].T
    across = 2.2 * (share - 0.5) * np.tan(np.radians(view.fov) / 2)
    distance = _ENTERS_AT * near
    x, y, z = np.array(view.origin) + distance * (forward + across * right + 0.15 * down)
    world.box(Place(x, y, z, 20.0), (0, 0, 0), (_ENTERS_AS * near,) * 3, look)
    scene = world.scene()
    world.plugins.pop()
    return scene


def _noisy(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    noise = rng.normal(0, _NOISE, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)
