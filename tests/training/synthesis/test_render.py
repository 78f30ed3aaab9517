"""Rendered depth against geometry by hand; scenes that are the same each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("pyoidn")

from apdepth_deploy.training.synthesis.objects import looks, room, small, street
from apdepth_deploy.training.synthesis.objects.world import Place, World
from apdepth_deploy.training.synthesis.render import (
    denoise,
    develop,
    exposure,
    render_depth,
    render_light,
    render_scene,
)
from apdepth_deploy.training.synthesis.scenes import DESIGNS, View

SIZE = 60, 80


def rays(view: View, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Origin, and directions [H,W,3] through the pixels' centres, of length 1 along the axis."""
    origin, target = np.array(view.origin), np.array(view.target)
    axis = (target - origin) / np.linalg.norm(target - origin)
    right = np.cross(axis, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, axis)
    roll = np.radians(view.roll)
    right, up = (
        np.cos(roll) * right - np.sin(roll) * up,
        np.cos(roll) * up + np.sin(roll) * right,
    )
    focal = size[1] / 2 / np.tan(np.radians(view.fov) / 2)
    x = (np.arange(size[1]) + 0.5 - size[1] / 2) / focal
    y = (np.arange(size[0]) + 0.5 - size[0] / 2) / focal
    return origin, axis + x[None, :, None] * right - y[:, None, None] * up


def sphere_hit(origin: np.ndarray, d: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    a, b = (d * d).sum(-1), 2 * d @ (origin - centre)
    c = ((origin - centre) ** 2).sum() - radius**2
    inside = b * b - 4 * a * c
    return np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / (2 * a), np.inf)


@pytest.mark.parametrize("roll", [0.0, 7.0])
@pytest.mark.parametrize("fov", [50.0, 85.0])
def test_depth_is_exact_at_the_pixels_centres(fov: float, roll: float) -> None:
    world = World(np.random.default_rng(0))
    grey = world.paint(np.full(3, 0.5))
    world.sheet(Place(), (-50, -50, 0), (100, 0, 0), (0, 100, 0), grey)
    world.ball(Place(0.5, 4.0, 0.0, 30.0), (0, 0, 1.0), 0.8, grey)
    view = View((0.2, 0.0, 1.5), (0.4, 3.0, 0.9), roll, fov)
    depth = render_depth(world.scene(), view, SIZE, far=20.0)
    origin, d = rays(view, SIZE)
    ball = sphere_hit(origin, d, np.array([0.5, 4.0, 1.0]), 0.8)
    with np.errstate(divide="ignore"):
        floor = np.where(d[..., 2] < 0, -origin[2] / d[..., 2], np.inf)
    expected = np.minimum(ball, floor)
    expected = np.where(expected < 20.0, expected, 0.0)
    assert (ball < floor).sum() > 100 and (expected == 0).sum() > 100
    near_horizon = np.abs(np.minimum(ball, floor) - 20.0) < 0.01
    graze = np.abs(depth - expected) > 1e-4 * np.maximum(expected, 1)
    assert not (graze & ~near_horizon).sum() > 2  # a ray may graze the ball's rim


def test_an_ellipsoid_and_a_rod_stand_where_they_should() -> None:
    world = World(np.random.default_rng(0))
    grey = world.paint(np.full(3, 0.5))
    world.egg(Place(0, 5, 0, 90), (0, 0, 1.5), (0.3, 1.0, 0.5), grey)  # turned: 1 m along x
    world.rod(Place(0, 5), (2, 0, 1.5), (2, 0, 2.5), 0.25, grey)
    view = View((0, 0, 1.5), (0, 5, 1.5), 0.0, 70.0)
    depth = render_depth(world.scene(), view, (301, 401), far=20.0)
    focal = 200.5 / np.tan(np.radians(35))
    assert depth[150, 200] == pytest.approx(4.7, rel=1e-5)  # 0.3 m thick towards the camera
    width = (depth[150, :300] > 0).sum() / focal
    assert width == pytest.approx(2 * 1.0 / 5, rel=0.03)
    column = round(200 + focal * 2 / 4.85)
    assert depth[150 - 20, column] == pytest.approx(4.75, rel=0.01)
    assert (depth[:150, column] > 0).sum() == pytest.approx(focal * 1.0 / 4.8, rel=0.05)


def white_box_under_a_lamp() -> tuple[Any, View]:
    """A scene, and a place to look at it from."""
    world = World(np.random.default_rng(0))
    white = world.paint(np.full(3, 0.8))
    world.sheet(Place(), (-5, -5, 0), (10, 0, 0), (0, 10, 0), white)
    world.box(Place(0, 3), (0, 0, 0.5), (1, 1, 1), white)
    world.panel(Place(), (-1, 4, 4), (2, 0, 0), (0, -2, 0), [9.0, 9.0, 9.0])
    return world.scene(), View((0, 0, 1.5), (0, 3, 0.5), 0.0, 60.0)


def test_light_falls_from_above_and_the_exposure_follows() -> None:
    scene, view = white_box_under_a_lamp()
    light = render_light(scene, view, SIZE, 16, 2, 0)
    top, front = light[19, 40].mean(), light[34, 40].mean()
    assert top > 1.5 * front > 0
    lit = light.sum(-1) > 0
    for brightness in (1.0, 100.0):
        image = develop(light * brightness, exposure(light * brightness, lit))
        assert np.quantile(image[lit] / 255.0, 0.75) == pytest.approx(0.65, abs=0.03)


def test_denoised_light_is_nearer_to_that_of_many_paths() -> None:
    scene, view = white_box_under_a_lamp()
    few, many = (render_light(scene, view, SIZE, spp, 3, 0) for spp in (4, 256))
    before, after = (np.abs(light - many).mean() for light in (few, denoise(few)))
    assert 0 < after < 0.4 * before


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_every_design_gives_views_with_depth(design: object) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        world = World(rng)
        draw = design.build(world)  # type: ignore[attr-defined]
        depth = render_depth(world.scene(), draw(rng), (24, 32), design.far)  # type: ignore[attr-defined]
        assert np.isfinite(depth).all() and depth.max() < 60 and (depth > 0).any()


def by_name(builds: Iterable[looks.Build]) -> list[looks.Build]:
    """Once each, in an order that every process of a test run agrees on."""
    return sorted(set(builds), key=lambda build: build.__name__)


LARGE = {*(build for build, _ in room.ROOM), *street.PAVEMENT, *street.GARDEN}


@pytest.mark.parametrize(
    ("build", "distance"),
    [*((b, 10.0) for b in by_name(LARGE)), *((b, 1.0) for b in by_name(small.SMALL))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_thing_stands_on_its_ground(build: looks.Build, distance: float) -> None:
    """Seen against nothing: it is there, and not far under the floor."""
    world = World(np.random.default_rng(1))
    build(world, Place(0, distance, 0, 20))
    eye = distance / 5
    view = View((0, 0, eye), (0, distance, eye), 0.0, 80.0)
    depth = render_depth(world.scene(), view, (120, 160), far=3 * distance)
    focal = 80 / np.tan(np.radians(40))
    height = eye - depth * (np.arange(120)[:, None] - 59.5) / focal
    assert (depth > 0).any()
    sunk = 0.8 if build is street.bush else 0.05  # a bush's balls lie half in the ground
    assert height[depth > 0].min() > -sunk * distance / 10 - depth.max() / focal


def test_a_seed_draws_one_scene() -> None:
    first, again, other = (render_scene((4, 0, n), 2, (24, 32), 2) for n in (7, 7, 8))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.depth, two.depth)
    assert not np.array_equal(first[0].depth, other[0].depth)
    assert not np.array_equal(first[0].depth, first[1].depth)


def test_views_are_not_blocked() -> None:
    designs = {design.near for design in DESIGNS}
    for scene in range(6):
        for frame in render_scene((9, 0, scene), 1, (24, 32), 1):
            seen = frame.depth[frame.depth > 0]
            assert np.quantile(seen, 0.02) >= min(designs)
            assert np.quantile(seen, 0.98) > 1.5 * np.quantile(seen, 0.02)
