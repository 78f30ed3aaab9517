"""Draws docs/images/walk.webp: frames of a rendered walk, their depth, and their points.

    python docs/draw_walk.py RENDERED BUNDLE [--path 0] [--output docs/images/walk.webp]

RENDERED is a set of `apdepth-deploy synthesize --path drive`, BUNDLE of any model. Depth is
steadied by the stabiliser; the points are the relief of `apdepth-deploy points`, in colour, seen by
a camera that swings to the side and back. The picture in README.md is of

    apdepth-deploy synthesize -o RENDERED --path drive --views 40 --train 0 --val 0 --test 160 \
        --height 240 --width 320 --seed 11 --spp 8

and its path 1, with `tiny`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy import Stabilizer, load
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.pictures.image import ImageArray
from apdepth_deploy.runtime.metric.camera import Camera
from apdepth_deploy.runtime.metric.points import Cloud, Relief, cloud
from apdepth_deploy.training.data.paths import read_paths

OUTPUT = Path(__file__).parent / "images" / "walk.webp"
#: Of one panel, and the space between two.
HEIGHT, WIDTH, GAP = 192, 256, 6
#: The view from the side: radians to the side and down, and the distance that it turns about.
SWING, TILT, PIVOT = 0.35, 0.2, 2.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rendered", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--path", type=int, default=0, help="number of the path in the set")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    walk = read_paths(arguments.rendered)[arguments.path]
    predict, steady = load(arguments.bundle), Stabilizer()
    predict.settle()
    strips = []
    for number in range(len(walk)):
        image = walk[number].image
        depth = np.clip(steady(image, predict(image)), 0.0, 1.0)
        camera = Camera(*walk.intrinsics, image.shape[1], image.shape[0])
        points = cloud(Relief().z(depth), image, camera)
        swing = SWING * np.sin(2 * np.pi * number / len(walk))
        side = seen_from_the_side(points, camera, swing)
        strips.append(strip([image, colorize(depth), side]))
    save(strips, arguments.output)
    print(f"wrote {arguments.output}: {arguments.output.stat().st_size:,} bytes")


def seen_from_the_side(points: Cloud, camera: Camera, swing: float) -> ImageArray:
    """The points by a camera that has swung about what lies before the first one: uint8 [H,W,3]."""
    turn = rotation(swing, 1) @ rotation(-TILT, 0)
    moved = (points.xyz - [0, 0, PIVOT]) @ turn + [0, 0, PIVOT + 0.5]
    near = moved[:, 2] > 0.1
    moved, colours = moved[near], points.rgb[near]
    order = np.argsort(-moved[:, 2])  # what is near is drawn last
    x, y, z = moved[order].T
    column = np.round(camera.fx * x / z + camera.cx).astype(int)
    row = np.round(camera.fy * y / z + camera.cy).astype(int)
    seen = np.full((camera.height, camera.width, 3), 24, np.uint8)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):  # a point is two pixels wide
        inside = (
            (row >= 0) & (row < camera.height - 1) & (column >= 0) & (column < camera.width - 1)
        )
        seen[row[inside] + down, column[inside] + right] = colours[order][inside]
    return seen


def rotation(angle: float, axis: int) -> NDArray[np.float64]:
    """[3,3], about x (0) or y (1)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    one, other = (1, 2) if axis == 0 else (2, 0)
    turn[one, one] = turn[other, other] = cosine
    turn[one, other], turn[other, one] = -sine, sine
    return turn


def strip(panels: list[ImageArray]) -> Image.Image:
    """The panels beside each other."""
    whole = Image.new("RGB", (3 * WIDTH + 2 * GAP, HEIGHT), "white")
    for number, panel in enumerate(panels):
        small = Image.fromarray(panel).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        whole.paste(small, (number * (WIDTH + GAP), 0))
    return whole


def save(strips: list[Image.Image], output: Path) -> None:
    """Moving to the end and back, without an end."""
    frames = strips + strips[-2:0:-1]
    frames[0].save(
        output, save_all=True, append_images=frames[1:], duration=90, loop=0, quality=60, method=6
    )


if __name__ == "__main__":
    main()
