"""A model over a set: frame by frame, in parallel with the reading, resumable."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apdepth_deploy.console import Steps
from apdepth_deploy.depth import colorize
from apdepth_deploy.errors import DataError, UsageError
from apdepth_deploy.files import atomic_file, output_errors
from apdepth_deploy.image import ImageArray

from ..data.eval_sets import EvalSet
from ..data.sample import Dataset, Sample
from .models import Model, prediction
from .protocol import Score, align, score

FRAMES_FILE = "frames.jsonl"
RESULTS_FILE = "results.json"
GRID_FILE = "grid.png"
METRICS = tuple(field.name for field in dataclasses.fields(Score))
#: AbsRel at which the grid's error is brightest.
_WORST = 0.3


def evaluate(
    model: Model,
    rules: EvalSet,
    output: Path,
    *,
    limit: int | None,
    grid: int,
    workers: int,
    bad_samples: int,
    progress: Steps,
) -> dict[str, Any]:
    """Score every frame, or those that an earlier run left; write and return the results.

    Args:
        output: gets ``frames.jsonl`` (one line a frame, as they are done), ``results.json`` and
            ``grid.png``.
        limit: only the first so many frames; None = all.
        grid: frames in the picture, spread evenly; 0 = no picture.
        workers: threads that read ahead.
        bad_samples: frames to step over, by name, before it is given up.

    Raises:
        UsageError: the output holds the results of another model or set.
        DataError: too many samples are missing or damaged.
    """
    dataset = rules.dataset
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if count < 1 or workers < 1:
        raise UsageError("there must be at least 1 frame and 1 worker")
    frames = _Frames(
        output, {"model": model.identity, "set": dataset.name, "path": _place(dataset)}
    )
    todo = [index for index in range(count) if index not in frames.done]
    if len(todo) < count:
        progress(f"{count - len(todo)} frames are done already")
    for number, (index, sample) in enumerate(_read_ahead(dataset, todo, workers), start=1):
        frames.add(index, _score(model, rules, sample))
        bad = [line["error"] for line in frames.done.values() if "error" in line]
        if len(bad) > bad_samples:
            raise DataError(
                f"{len(bad)} samples are missing or damaged, the last: {bad[-1]}. Mend the set, or "
                "raise --bad-samples"
            )
        if number % 20 == 0:
            progress(f"{number} of {len(todo)} frames")
    results = _summary(model, rules, frames, count)
    with atomic_file(output / RESULTS_FILE) as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if grid:
        _write_grid(model, rules, frames, count, grid, output / GRID_FILE)
    return results


def _place(dataset: Dataset) -> str:
    source = getattr(dataset, "source", None)
    return "" if source is None else str(source.path.resolve())


def _score(model: Model, rules: EvalSet, sample: Sample | DataError) -> dict[str, Any]:
    """A frame's line: its metrics, or what is wrong with it."""
    if isinstance(sample, DataError):
        return {"error": str(sample)}
    try:
        predicted = prediction(model, sample.image, rules.longer_side)
        return {"name": sample.name, **dataclasses.asdict(score(predicted, sample, rules))}
    except DataError as error:
        return {"error": f"{sample.name}: {error}"}


def _read_ahead(
    dataset: Dataset, indices: list[int], workers: int
) -> Iterator[tuple[int, Sample | DataError]]:
    """Samples in order, a few read ahead; a bad one as its error."""

    def read(index: int) -> Sample | DataError:
        try:
            return dataset[index]
        except DataError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[int, Future[Sample | DataError]]] = deque()
        for index in indices:
            waiting.append((index, pool.submit(read, index)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for index, future in waiting:
            yield index, future.result()


class _Frames:
    """The results so far, a line each, the first line saying of what.

    Raises UsageError where the file is of something else.
    """

    def __init__(self, output: Path, identity: dict[str, str]) -> None:
        self.path = output / FRAMES_FILE
        self.done: dict[int, dict[str, Any]] = {}
        with output_errors(output):
            output.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._read(identity)
        else:
            with atomic_file(self.path) as path:
                path.write_text(json.dumps(identity) + "\n", encoding="utf-8")

    def _read(self, identity: dict[str, str]) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            same = json.loads(lines[0]) == identity
        except (IndexError, ValueError):
            same = False
        if not same:
            raise UsageError(
                f"{self.path} holds the results of another model or set: choose another -o"
            )
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):  # a killed run may leave half a line
            with atomic_file(self.path) as path:
                path.write_text("".join(whole), encoding="utf-8")
        for line in whole[1:]:
            record = json.loads(line)
            self.done[record.pop("index")] = record

    def add(self, index: int, record: dict[str, Any]) -> None:
        """Keep a frame's result, at once."""
        self.done[index] = record
        with output_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"index": index, **record}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _summary(model: Model, rules: EvalSet, frames: _Frames, count: int) -> dict[str, Any]:
    """Means over the frames; a frame that couldn't be read counts in ``skipped`` alone."""
    records = [frames.done[index] for index in range(count)]
    good = [record for record in records if "error" not in record]
    if not good:
        raise DataError(f"{rules.dataset.name}: not one frame could be evaluated")
    means = {name: float(np.mean([record[name] for record in good])) for name in METRICS}
    skipped = [record["error"] for record in records if "error" in record]
    return {
        "model": model.label,
        "set": rules.dataset.name,
        "frames": len(good),
        "skipped": skipped,
        **means,
    }


def _write_grid(
    model: Model, rules: EvalSet, frames: _Frames, count: int, grid: int, path: Path
) -> None:
    good = [index for index in range(count) if "error" not in frames.done[index]]
    picked = np.linspace(0, len(good) - 1, min(grid, len(good))).round().astype(int)
    rows = [_row(model, rules, rules.dataset[good[i]]) for i in picked]
    width = min(row.shape[1] for row in rows)
    same = [_to_width(row, width) for row in rows]
    with atomic_file(path) as temporary:
        Image.fromarray(np.concatenate(same)).save(temporary, format="PNG")


def _row(model: Model, rules: EvalSet, sample: Sample) -> ImageArray:
    """Picture, aligned depth, truth, error; uint8 [H,4W,3]. Unknown depth is black."""
    predicted = align(prediction(model, sample.image, rules.longer_side), sample, rules)
    known = sample.depth[sample.valid]
    low, high = float(known.min()), float(known.max())
    shown = [np.clip(d, low, high).astype(np.float32) for d in (predicted, sample.depth)]
    black = sample.valid[..., None]
    error = np.abs(predicted - sample.depth) / np.maximum(sample.depth, 1e-6)
    grey = (np.clip(error / _WORST, 0, 1) * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    cells = [sample.image, colorize(shown[0]), colorize(shown[1]) * black, grey * black]
    return np.concatenate(cells, axis=1)


def _to_width(row: ImageArray, width: int) -> ImageArray:
    height = round(row.shape[0] * width / row.shape[1])
    return np.asarray(Image.fromarray(row).resize((width, height), Image.Resampling.BILINEAR))
