"""A model along camera paths: how much its depth flickers, raw and stabilised, and what that costs.

Flicker is the mean over what two neighbouring frames both see of
``|(D_k(p + flow) - D_k-1(p)) - (Z_k(p + flow) - Z_k-1(p))|``: D is the prediction after one scale
and shift for the whole path, Z the truth; in units of the truth's range (2 to 98 %).

AbsRel is that of metres whose scale and shift were fitted to all pixels of a frame and then held:
in every frame anew, in every tenth, or once; always anew behind a cut.

Moved is what all of the picture does when something comes into it: by which share of its distance
that what the first frame shows has moved since, in metres by the first frame's scale and shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import apdepth_deploy
from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.pictures.image import DepthArray

from ..data.paths import CameraPath, Flow, at, flow
from ..data.sample import Sample
from ..metrics import abs_rel, align_least_squares
from .models import Model, prediction
from .run import write_results

#: Frames for which one fit holds: results' keys.
HELD = {"every_frame": 1, "every_10th": 10, "once": 1 << 62}
#: The kinds of depth that are compared.
KINDS = ("raw", "stable")
_FLOOR = 1e-3


def evaluate_paths(
    model: Model, paths: Sequence[CameraPath], output: Path, progress: Steps
) -> dict[str, Any]:
    """Score every path; write ``results.json`` and return it.

    Raises DataError where a frame is missing or damaged, OutputError.
    """
    if not paths:
        raise UsageError("there must be at least one path")
    records = []
    for path in paths:
        records.append(_scored(model, path))
        raw, stable = (records[-1]["flicker"][kind] for kind in KINDS)
        progress(f"{path.name} {path.kind}: flicker {raw:.4f}, stabilised {stable:.4f}")
    numbers = ("flicker", "moved", *(f"abs_rel_{name}" for name in HELD))
    means = {
        number: {kind: float(np.nanmean([r[number][kind] for r in records])) for kind in KINDS}
        for number in numbers
    }
    ratios = [r["flicker"]["stable"] / max(r["flicker"]["raw"], 1e-12) for r in records]
    results = {
        "model": model.label,
        "set": paths[0].frames.name,
        "frames": sum(map(len, paths)),
        **means,
        "flicker_ratio": float(np.mean(ratios)),
        "paths": records,
    }
    write_results(results, output)
    return results


def _scored(model: Model, path: CameraPath) -> dict[str, Any]:
    steady = apdepth_deploy.Stabilizer()
    samples, depths, fresh = [], {kind: list[DepthArray]() for kind in KINDS}, []
    for number in range(len(path)):
        sample = path[number]
        raw = prediction(model, sample.image, None)
        depths["raw"].append(raw)
        depths["stable"].append(steady(sample.image, raw))
        fresh.append(steady.age == 1)
        samples.append(sample)
    flows = [_flow(path, samples, k, k + 1) for k in range(len(path) - 1)]
    record: dict[str, Any] = {"path": path.name, "kind": path.kind, "frames": len(path)}
    record["cuts"] = sum(fresh) - 1
    record["flicker"] = {kind: flicker(depths[kind], samples, flows) for kind in KINDS}
    shot = fresh.index(True, 1) if record["cuts"] else len(path)  # up to the first cut
    since = [_flow(path, samples, 0, k) for k in range(1, shot)]
    record["moved"] = {kind: moved(depths[kind], samples, since) for kind in KINDS}
    for name, held in HELD.items():
        record[f"abs_rel_{name}"] = {
            kind: abs_rel_held(depths[kind], samples, fresh, held) for kind in KINDS
        }
    return record


def _flow(path: CameraPath, samples: Sequence[Sample], here: int, there: int) -> Flow:
    return flow(path, here, there, samples[here].depth, samples[there].depth)


def flicker(
    depths: Sequence[DepthArray], samples: Sequence[Sample], flows: Sequence[Flow]
) -> float:
    """Flicker of a path (see above): 0 where the prediction moves as the truth does.

    Args:
        depths: float32 [H,W] for each frame, up to one scale and shift.
        flows: from each frame but the last to the next.

    Raises DataError where no two frames see the same.
    """
    truth = np.stack([sample.depth for sample in samples])
    valid = np.stack([sample.valid for sample in samples])
    scale = align_least_squares(np.stack(depths), truth, valid)[0]  # differences know no shift
    low, high = np.quantile(truth[valid], [0.02, 0.98])
    total, count = 0.0, 0
    for k, one in enumerate(flows):
        predicted = scale * (at(depths[k + 1], one.x, one.y) - depths[k])
        true = at(samples[k + 1].depth, one.x, one.y) - samples[k].depth
        total += float(np.abs(predicted - true)[one.seen].sum())
        count += int(one.seen.sum())
    if count == 0 or high <= low:
        raise DataError("flicker can't be told: no two neighbouring frames see the same")
    return total / count / float(high - low)


def moved(depths: Sequence[DepthArray], samples: Sequence[Sample], flows: Sequence[Flow]) -> float:
    """How far what stands in the first frame moves in later ones (see above); 0 where it is still,
    or moves as the truth does. NaN where no later frame shows any of it.

    Args:
        depths: float32 [H,W] for each frame.
        flows: from the first frame to each later one.
    """
    first = samples[0]
    scale = align_least_squares(depths[0], first.depth, first.valid)[0]
    shares = []
    for depth, sample, one in zip(depths[1:], samples[1:], flows, strict=False):
        predicted = scale * (at(depth, one.x, one.y) - depths[0])
        true = at(sample.depth, one.x, one.y) - first.depth
        shares.append(np.abs(predicted - true)[one.seen] / first.depth[one.seen])
    every = np.concatenate(shares) if shares else np.empty(0)
    return float(every.mean()) if every.size else float("nan")


def abs_rel_held(
    depths: Sequence[DepthArray], samples: Sequence[Sample], fresh: Sequence[bool], held: int
) -> float:
    """Mean AbsRel of the metres from fits that hold for ``held`` frames, or until a cut.

    Frames of which nothing is known (all sky) don't count.

    Args:
        fresh: whether a frame is the first, or the first behind a cut.
    """
    errors, age, scale, shift = [], held, 0.0, 0.0
    for depth, sample, new in zip(depths, samples, fresh, strict=True):
        if not sample.valid.any():
            continue
        if new or age >= held:
            scale, shift = align_least_squares(depth, sample.depth, sample.valid)
            age = 0
        age += 1
        metres = np.maximum(scale * depth.astype(np.float64) + shift, _FLOOR)
        errors.append(abs_rel(metres, sample.depth, sample.valid))
    if not errors:
        raise DataError("no frame has depth")
    return float(np.mean(errors))
