"""Surfaces as small pictures, drawn with numpy: uint8 RGB [S,S,3] that repeat without a seam."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.pictures.image import ImageArray

SIZE = 128

Colour = NDArray[np.float64]
Field = NDArray[np.float64]


def colour(rng: np.random.Generator, saturation: float = 1.0) -> Colour:
    """A surface's colour in [0, 1]: mostly muted and warm, seldom very dark."""
    hue = rng.uniform(0.02, 0.16) if rng.random() < 0.5 else rng.random()
    vividness = min(rng.beta(1.2, 3.0) * saturation, 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, vividness, rng.uniform(0.15, 0.95)))


def shade(base: Colour, rng: np.random.Generator, spread: float = 0.25) -> Colour:
    """A relative of a colour, lighter or darker."""
    lightness = np.exp(rng.normal(0.0, spread))
    shifted: Colour = np.clip(base * lightness + rng.normal(0.0, 0.03, 3), 0.02, 0.98)
    return shifted


def noise(rng: np.random.Generator, roughness: float) -> Field:
    """Periodic noise in [0, 1] of spectrum 1 / f^roughness: 0.5 is gritty, 2 is cloudy."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    field = np.fft.irfft2(phase / frequency**roughness, (SIZE, SIZE))
    low, high = np.quantile(field, [0.02, 0.98])
    stretched: Field = np.clip((field - low) / (high - low), 0.0, 1.0)
    return stretched


def _blend(first: Field, second: Colour, share: Field) -> Field:
    mixed: Field = first + (second - first) * share[..., None]
    return mixed


def _grid() -> tuple[Field, Field]:
    """Rows and columns of the pixel centres, in [0, 1]."""
    axis = (np.arange(SIZE) + 0.5) / SIZE
    return np.meshgrid(axis, axis, indexing="ij")


def _seams(position: Field, count: int, width: float) -> Field:
    """1 on the joints between ``count`` parts of [0, 1], ``width`` of a part wide; else 0."""
    inside = position * count % 1.0
    return (np.minimum(inside, 1.0 - inside) < width / 2).astype(np.float64)


def mottled(rng: np.random.Generator, base: Colour) -> Field:
    """Plaster, stone, carpet, grass: two shades in a noise."""
    return _blend(base, shade(base, rng, 0.4), noise(rng, rng.uniform(0.6, 2.0)))


def stripes(rng: np.random.Generator, base: Colour) -> Field:
    """Wallpaper or cloth, upright or across."""
    rows, columns = _grid()
    position = rows if rng.random() < 0.5 else columns
    wave = position * rng.integers(2, 12) % 1.0 < rng.uniform(0.2, 0.8)
    return _blend(base, shade(base, rng, 0.6), wave.astype(np.float64))


def checks(rng: np.random.Generator, base: Colour) -> Field:
    """A chessboard."""
    rows, columns = _grid()
    count = 2 * rng.integers(1, 5)
    odd = ((rows * count).astype(int) + (columns * count).astype(int)) % 2
    return _blend(base, shade(base, rng, 0.7), odd.astype(np.float64))


def tiles(rng: np.random.Generator, base: Colour) -> Field:
    """Tiles or slabs, each a little different, with joints."""
    rows, columns = _grid()
    count = int(rng.integers(2, 7))
    spread = rng.uniform(0.0, 0.3, (count, count))
    picked = spread[(rows * count).astype(int), (columns * count).astype(int)]
    field = _blend(base, shade(base, rng), picked)
    joints = np.maximum(_seams(rows, count, 0.06), _seams(columns, count, 0.06))
    return _blend(field, shade(base, rng, 0.5), joints)


def bricks(rng: np.random.Generator, base: Colour) -> Field:
    """Courses of bricks, each shifted by half against the last."""
    rows, columns = _grid()
    courses = 2 * int(rng.integers(3, 6))
    course = (rows * courses).astype(int)
    shifted = (columns + course % 2 / courses) % 1.0
    number = (shifted * courses / 2).astype(int)
    picked = rng.random((courses, courses))[course, number % courses]
    field = _blend(base, shade(base, rng, 0.4), picked)
    joints = np.maximum(_seams(rows, courses, 0.15), _seams(shifted, courses // 2, 0.08))
    return _blend(field, shade(base, rng, 0.5), joints)


def planks(rng: np.random.Generator, base: Colour) -> Field:
    """Boards with a grain along them."""
    _, columns = _grid()
    count = int(rng.integers(3, 9))
    board = (columns * count).astype(int)
    grain = noise(rng, 1.2)[:: SIZE // 8].repeat(SIZE // 8, axis=0)
    picked = 0.6 * rng.random(count)[board] + 0.4 * grain
    joints = _seams(columns, count, 0.05)
    return _blend(base, shade(base, rng, 0.35), picked) * (1 - 0.6 * joints[..., None])


def poster(rng: np.random.Generator, base: Colour) -> Field:
    """Blots of colour: a picture on a wall, a rug, a book's cover."""
    rows, columns = _grid()
    field = np.broadcast_to(base, (SIZE, SIZE, 3)).copy()
    for _ in range(rng.integers(3, 12)):
        y, x, height, width = rng.uniform(0.05, 0.6, 4)
        dy, dx = (rows - y - height / 2) / height, (columns - x - width / 2) / width
        round_ = rng.random() < 0.5
        inside = dy**2 + dx**2 < 0.25 if round_ else np.maximum(abs(dy), abs(dx)) < 0.5
        field[inside] = colour(rng, 1.5)
    return field


def facade(rng: np.random.Generator, base: Colour) -> Field:
    """A house front: rows of windows in a wall."""
    rows, columns = _grid()
    high, wide = int(rng.integers(2, 7)), int(rng.integers(2, 7))
    size = rng.uniform(0.3, 0.75, 2)
    inside = (abs(rows * high % 1 - 0.5) < size[0] / 2) & (
        abs(columns * wide % 1 - 0.5) < size[1] / 2
    )
    wall = mottled(rng, base)
    panes = rng.uniform(0.05, 0.5, (high, wide))
    glass = panes[(rows * high).astype(int), (columns * wide).astype(int)]
    wall[inside] = (glass[..., None] * np.array([0.8, 0.9, 1.0]))[inside]
    return wall


#: What walls, floors and furniture are covered with.
COVERS: tuple[Callable[[np.random.Generator, Colour], Field], ...] = (
    mottled,
    mottled,
    mottled,
    stripes,
    checks,
    tiles,
    bricks,
    planks,
    planks,
    poster,
)


def texture(
    rng: np.random.Generator, cover: Callable[[np.random.Generator, Colour], Field], base: Colour
) -> ImageArray:
    """A cover in a colour, with a little dirt."""
    field = cover(rng, base)
    dirt = 1.0 - rng.uniform(0.0, 0.35) * noise(rng, rng.uniform(0.4, 1.8))
    return (np.clip(field * dirt[..., None], 0, 1) * 255 + 0.5).astype(np.uint8)
