"""How much depth flickers over any frames that follow each other, without a truth.

Where the picture stays as it was from one frame to the next, so should its depth: flicker is the
mean of ``|D_k(p) - D_k-1(p)|`` over the pixels that stay, in units of the depth's own range (2 to
98 %, mean over the frames). A pixel stays where the mean colour of the 3x3 about it changes by at
most ``SAME`` of 255. Beside a rendered path's flicker (``sequence``) this sees still parts alone,
and calls what the model does there to a thing that moves elsewhere flicker, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

import apdepth_deploy
from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError
from apdepth_deploy.folders import natural
from apdepth_deploy.pictures.image import SUFFIXES, ImageArray, read_image

from ..data.sample import MaskArray
from .models import Model, prediction
from .run import write_results
from .sequence import KINDS

#: Of 255. A camera's noise of 2.5 changes such a mean by 1.2 (standard deviation).
SAME = 4.0


def find_frames(folder: Path) -> list[Path]:
    """A folder's pictures in the order of the numbers in their names. Raises DataError: under 2."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if len(found) < 2:
        raise DataError(
            f"{folder}: a sequence is a folder with two pictures or more, or a set of "
            "`apdepth-deploy synthesize --path`"
        )
    return sorted(found, key=natural)


def evaluate_frames(
    model: Model, frames: Sequence[Path], output: Path, progress: Steps
) -> dict[str, Any]:
    """Score frames in their order; write ``results.json`` and return it.

    Raises ImageError, DataError where nothing stays, OutputError.
    """
    steady = apdepth_deploy.Stabilizer()
    sums = dict.fromkeys(KINDS, 0.0)
    count, pixels = 0, 0
    ranges = []
    last = None
    for number, path in enumerate(frames, 1):
        image = read_image(path)
        raw = prediction(model, image, None)
        depths = dict(zip(KINDS, (raw, steady(image, raw)), strict=True))
        low, high = np.quantile(raw, [0.02, 0.98])
        ranges.append(float(high - low))
        if last is not None and steady.age > 1:  # neither a cut nor another size
            still = stays(last[0], image)
            count += int(still.sum())
            pixels += still.size
            for kind in KINDS:
                sums[kind] += float(np.abs(depths[kind] - last[1][kind])[still].sum())
        last = image, depths
        progress(f"{number} of {len(frames)} frames")
    width = float(np.mean(ranges))
    if count == 0 or width <= 0:
        raise DataError("flicker can't be told: no pixel stays as it is from frame to frame")
    flicker = {kind: sums[kind] / count / width for kind in KINDS}
    results = {
        "model": model.label,
        "set": str(frames[0].parent),
        "frames": len(frames),
        "still": count / pixels,
        "flicker": flicker,
        "flicker_ratio": flicker["stable"] / max(flicker["raw"], 1e-12),
    }
    write_results(results, output)
    return results


def stays(before: ImageArray, after: ImageArray) -> MaskArray:
    """Where the picture is as it was, bool [H,W] of uint8 [H,W,3]."""
    change = after.astype(np.float32) - before
    still: MaskArray = np.abs(uniform_filter(change, (3, 3, 0))).max(axis=2) <= SAME
    return still
