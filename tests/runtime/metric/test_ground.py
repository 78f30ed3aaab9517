"""The ground as a yardstick: metres where it is ground, and a reason where it isn't."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy.errors import UsageError
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.ground import fit_ground, ground_depth, up_vector

H, W = 120, 160
CAMERA = Camera(140.0, 140.0, 79.5, 59.5, W, H)
HEIGHT, PITCH = 1.4, 12.0


def rays(camera: Camera) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    return np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones((H, W))], -1)


def street(pitch: float = PITCH, roll: float = 0.0) -> NDArray[np.float64]:
    """Metres: ground, a wall 12 m ahead, and a car on the right, by the plane equations."""
    up = up_vector(pitch, roll)
    ground = ground_depth((H, W), CAMERA, HEIGHT, up)
    metres = np.minimum(ground, 12.0)
    x, y = np.meshgrid(np.arange(W), np.arange(H))
    car = (x > 110) & (y > 50) & (y < 85)
    metres[car] = np.minimum(metres[car], 5.0)
    return metres


def relative(metres: NDArray[np.float64]) -> NDArray[np.float32]:
    low, high = metres.min(), metres.max()
    return ((metres - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (12.0, 0.0), (30.0, 8.0), (60.0, -20.0)])
def test_ground_lies_where_its_plane_says(pitch: float, roll: float) -> None:
    """Points of the ground, unprojected, are all the camera's height below it."""
    up = up_vector(pitch, roll)
    assert np.linalg.norm(up) == pytest.approx(1.0)
    z = ground_depth((H, W), CAMERA, HEIGHT, up)
    seen = np.isfinite(z)
    points = rays(CAMERA)[seen] * z[seen][:, None]
    np.testing.assert_allclose(points @ up, -HEIGHT, rtol=1e-9)
    assert (rays(CAMERA)[~seen] @ up >= 0).all()


def test_up_is_against_gravity_in_the_cameras_frame() -> None:
    np.testing.assert_allclose(up_vector(0), [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(up_vector(90), [0, 0, -1], atol=1e-12)
    # Turned clockwise, the camera has the sky on its left.
    np.testing.assert_allclose(up_vector(0, 90), [-1, 0, 0], atol=1e-12)


def test_an_exact_street_has_its_metres() -> None:
    metres = street()
    fit = fit_ground(relative(metres), CAMERA, HEIGHT, up_vector(PITCH))
    assert (fit.valid, fit.why, fit.field) == (True, "", None)
    found = fit.metres(relative(metres))
    np.testing.assert_allclose(found, metres, rtol=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_height_and_pitch_may_be_a_little_wrong(seed: int) -> None:
    """2 % and 1 degree: 5 % of metres in the median, where the fit says it's valid."""
    rng = np.random.default_rng(seed)
    height = HEIGHT * (1 + 0.02 * rng.choice([-1, 1]))
    pitch, roll = PITCH + rng.choice([-1, 1]), rng.uniform(-1, 1)
    metres = street()
    fit = fit_ground(relative(metres), CAMERA, height, up_vector(pitch, roll))
    assert fit.valid
    assert np.median(np.abs(fit.metres(relative(metres)) - metres) / metres) < 0.05


def test_a_table_before_a_room_is_no_ground() -> None:
    """What lies behind its edge would lie below the ground."""
    table, floor = (ground_depth((H, W), CAMERA, high, up_vector(15.0)) for high in (0.4, 1.2))
    metres = np.where(table < 1.5, table, np.minimum(floor, 6.0))
    fit = fit_ground(relative(metres), CAMERA, 1.2, up_vector(15.0))
    assert not fit.valid and "below the ground: is it a table?" in fit.why


def test_a_wall_is_no_ground() -> None:
    metres = np.full((H, W), 3.0) + np.linspace(0, 2, W)
    fit = fit_ground(relative(metres), CAMERA, HEIGHT, up_vector(PITCH))
    assert not fit.valid and fit.why


def test_a_cluttered_floor_is_no_ground() -> None:
    metres = street()
    rng = np.random.default_rng(0)
    for _ in range(60):
        y, x = rng.integers(50, 110), rng.integers(0, 140)
        metres[y : y + 25, x : x + 25] = np.minimum(
            metres[y : y + 25, x : x + 25], rng.uniform(0.8, 3)
        )
    fit = fit_ground(relative(metres), CAMERA, HEIGHT, up_vector(PITCH))
    assert not fit.valid and fit.why


def test_the_sky_has_no_ground() -> None:
    fit = fit_ground(relative(street()), CAMERA, HEIGHT, up_vector(-60.0))
    assert not fit.valid and fit.why.startswith("no ground is in view below the horizon")


@pytest.mark.parametrize(
    ("height", "up", "rule"),
    [
        (0.0, up_vector(0), "height must be above 0 m, not 0.0"),
        (float("nan"), up_vector(0), "height must be above 0 m, not nan"),
        (1.0, np.array([0, -2.0, 0]), "up must be a unit vector"),
        (1.0, np.array([0, -1.0]), "up must be a unit vector"),
    ],
)
def test_what_cant_be_is_refused(height: float, up: NDArray[np.float64], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        fit_ground(relative(street()), CAMERA, height, up)
