"""A view of a scene to a picture and its depth, with Mitsuba 3 on the CPU."""

from __future__ import annotations

import dataclasses
import os

import drjit as dr
import mitsuba as mi
import numpy as np
import pyoidn
from numpy.typing import NDArray

from apdepth_deploy.pictures.image import DepthArray, ImageArray

from .objects.world import Plugin, World
from .scenes import DESIGNS, Design, View, Views

#: Tries for a view of a scene that shows something.
_TRIES = 30
_NEAR_CLIP = 0.01


@dataclasses.dataclass(frozen=True)
class Frame:
    """One rendered frame.

    Attributes:
        view: from where.
        image: uint8 [H,W,3] sRGB.
        depth: float32 [H,W], metres along the optical axis at the pixels' centres; 0 = sky.
    """

    view: View
    image: ImageArray
    depth: DepthArray


def use_threads(count: int) -> None:
    """How many threads this process renders with: called before it renders."""
    dr.set_thread_count(count)
    # Read by the denoiser when it starts; it would pin all workers' threads to the same cores.
    os.environ.update(OIDN_NUM_THREADS=str(count), OIDN_SET_AFFINITY="0")


def render_scene(seed: tuple[int, ...], views: int, size: tuple[int, int], spp: int) -> list[Frame]:
    """The frames of the scene that ``seed`` draws: the same each time.

    Args:
        size: height and width in pixels.
        spp: light paths per pixel.
    """
    rng = np.random.default_rng(seed)
    design, world, draw = draw_scene(rng)
    scene = world.scene()
    frames = []
    for number in range(views):
        view, depth = find_view(scene, design, draw, rng, size)
        light = denoise(render_light(scene, view, size, spp, design.max_depth, number))
        # Exposed for what stands there, or for all that is seen: then the sky keeps its colour.
        lit = (depth > 0) | (rng.random() < 0.5)
        frames.append(Frame(view, develop(light, exposure(light, lit)), depth))
    return frames


def draw_scene(rng: np.random.Generator) -> tuple[Design, World, Views]:
    """A kind of scene, its things, and what draws places to look from."""
    design = DESIGNS[rng.choice(len(DESIGNS), p=[d.share for d in DESIGNS])]
    world = World(rng)
    return design, world, design.build(world)


def find_view(
    scene: mi.Scene, design: Design, draw: Views, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[View, DepthArray]:
    """The first view that isn't blocked; the least blocked of ``_TRIES`` where all are."""
    best: tuple[float, View, DepthArray] | None = None
    for _ in range(_TRIES):
        view = draw(rng)
        depth = render_depth(scene, view, size, design.far)
        openness = _openness(depth, design.near)
        if best is None or openness > best[0]:
            best = openness, view, depth
        if openness >= 1.0:
            break
    assert best is not None
    return best[1], best[2]


def _openness(depth: DepthArray, near: float) -> float:
    """1 or more where a view shows things at several distances, none of them too near."""
    seen = depth[depth > 0]
    if seen.size < 0.3 * depth.size:
        return 0.0
    low, high = np.quantile(seen, [0.02, 0.98])
    return float(min(low / near, high / low / 1.5))


def render_light(
    scene: mi.Scene, view: View, size: tuple[int, int], spp: int, max_depth: int, seed: int
) -> NDArray[np.float32]:
    """Linear radiance [H,W,3] from ``spp`` light paths a pixel; its noise is each pixel's own."""
    sampler = {"type": "independent", "sample_count": spp}
    sensor = _sensor(view, size, sampler, {"type": "box"})
    return _render(scene, sensor, {"type": "path", "max_depth": max_depth}, spp, seed)


def denoise(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear radiance [H,W,3] as many more light paths would leave it, but for fine texture.

    By Intel's Open Image Denoise (openimagedenoise.org), in the time of one more path a pixel.
    """
    clean: NDArray[np.float32] = pyoidn.denoise(light, hdr=True)
    return clean


def render_depth(scene: mi.Scene, view: View, size: tuple[int, int], far: float) -> DepthArray:
    """float32 [H,W]: metres along the optical axis at each pixel's centre; 0 beyond ``far``."""
    # One sample a pixel without jitter is its centre; the box filter keeps it to itself.
    centres = {"type": "stratified", "sample_count": 1, "jitter": False}
    sensor = _sensor(view, size, centres, {"type": "box"})
    distance = _render(scene, sensor, {"type": "depth"}, 1, 0)[..., 0]
    depth = _NEAR_CLIP + distance * _cosine(view.fov, size)
    return np.where((distance > 0) & (depth < far), depth, 0).astype(np.float32)


def _cosine(fov: float, size: tuple[int, int]) -> NDArray[np.float64]:
    """[H,W]: of the angle between each pixel's ray and the optical axis; ``fov`` is horizontal."""
    height, width = size
    focal = width / 2 / np.tan(np.radians(fov) / 2)
    y = (np.arange(height)[:, None] + 0.5 - height / 2) / focal
    x = (np.arange(width)[None] + 0.5 - width / 2) / focal
    cosine: NDArray[np.float64] = 1.0 / np.sqrt(1.0 + x**2 + y**2)
    return cosine


def _sensor(view: View, size: tuple[int, int], sampler: Plugin, rfilter: Plugin) -> mi.Sensor:
    up = -view.pose()[:3, 1]
    film = {
        "type": "hdrfilm",
        "height": size[0],
        "width": size[1],
        "rfilter": rfilter,
        "pixel_format": "rgb",
        "component_format": "float32",
    }
    sensor: mi.Sensor = mi.load_dict(
        {
            "type": "perspective",
            "fov": view.fov,
            "near_clip": _NEAR_CLIP,
            "far_clip": 1000.0,
            "to_world": mi.ScalarTransform4f().look_at(view.origin, view.target, up.tolist()),
            "film": film,
            "sampler": sampler,
        }
    )
    return sensor


def _render(
    scene: mi.Scene, sensor: mi.Sensor, integrator: Plugin, spp: int, seed: int
) -> NDArray[np.float32]:
    image = mi.render(scene, sensor=sensor, integrator=mi.load_dict(integrator), spp=spp, seed=seed)
    return np.array(image, dtype=np.float32)


def exposure(light: NDArray[np.float32], lit: NDArray[np.bool_]) -> float:
    """The factor by which the upper quartile over ``lit`` [H,W] becomes 0.65 of white."""
    brightness = light[lit] @ np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
    return float(0.65**2.2 / max(float(np.quantile(brightness, 0.75)), 1e-6))


def develop(light: NDArray[np.float32], factor: float) -> ImageArray:
    """Linear radiance [H,W,3], times the exposure, to uint8 sRGB."""
    exposed = light * factor
    curve = 1.055 * np.maximum(exposed, 0.0031308) ** (1 / 2.4) - 0.055
    srgb = np.where(exposed <= 0.0031308, exposed * 12.92, curve)
    image: ImageArray = (np.clip(srgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    return image
