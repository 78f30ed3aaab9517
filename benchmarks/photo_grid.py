"""Photos above their depth, side by side: the README's picture.

python benchmarks/photo_grid.py BUNDLE PHOTO... -o docs/images/tiny.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.pictures.image import read_image

#: Of a cell, in pixels: what sticks out is cut off on both sides.
HEIGHT, WIDTH = 180, 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--output", "-o", type=Path, required=True)
    arguments = parser.parse_args()
    with load(arguments.bundle) as predictor:
        columns = []
        for path in arguments.photos:
            photo = read_image(path)
            depth = colorize(predictor(photo))
            columns.append(np.concatenate([cell(photo), cell(depth)]))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, axis=1)).save(arguments.output, quality=85)


def cell(picture: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] at the cell's size, its middle."""
    image = Image.fromarray(picture)
    scale = max(HEIGHT / image.height, WIDTH / image.width)
    size = round(image.width * scale), round(image.height * scale)
    left, top = (size[0] - WIDTH) // 2, (size[1] - HEIGHT) // 2
    shrunk = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(shrunk.crop((left, top, left + WIDTH, top + HEIGHT)))


if __name__ == "__main__":
    main()
