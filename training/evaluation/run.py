"""A model over a set: frame by frame, in parallel with the reading, resumable."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apdepth_deploy.bundle import version
from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError, ImageError, UsageError
from apdepth_deploy.files import atomic_file
from apdepth_deploy.pictures.depth import colorize
from apdepth_deploy.pictures.image import ImageArray

from ..data.eval_sets import EvalSet
from ..data.sample import Dataset, Sample
from .frames import Frames, Record, digest
from .models import Model, prediction
from .protocol import Score, align, score

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
        output: gets ``frames.jsonl`` (``Frames``), ``results.json`` and ``grid.png``.
        limit: only the first so many frames; None = all.
        grid: frames in the picture, spread evenly; 0 = no picture.
        workers: threads that read ahead.
        bad_samples: frames to step over, by name, before it is given up.

    Raises:
        UsageError: the output holds the results of another model or set.
        DataError: too many samples are missing or damaged, or all.
    """
    dataset = rules.dataset
    count = len(dataset) if limit is None else min(limit, len(dataset))
    if min(count, workers) < 1 or min(grid, bad_samples) < 0:
        raise UsageError("there must be at least 1 frame and 1 worker, and no number below 0")
    frames = Frames(output, _identity(model, rules))
    done = len(frames.done)
    records: dict[int, Record] = {}
    skipped: list[str] = []
    for number, (index, sample) in enumerate(_read_ahead(dataset, count, workers), start=1):
        try:
            records[index] = _scored(model, rules, sample, frames)
        except DataError as error:
            skipped.append(str(error))
            progress(f"skipped a bad sample ({len(skipped)}): {error}")
            if len(skipped) > bad_samples:
                raise _too_many(dataset.name, number, skipped) from error
        if number % 20 == 0:
            progress(f"{number} of {count} frames")
    if not records:
        raise _too_many(dataset.name, count, skipped)
    if already := len(records) - (len(frames.done) - done):
        progress(f"{already} frames were done already")
    frames.close(list(records.values()), whole=count == len(dataset))
    results = _summary(model, dataset.name, list(records.values()), skipped)
    write_results(results, output)
    if grid:
        _write_grid(model, rules, list(records), grid, output / GRID_FILE)
    return results


def _identity(model: Model, rules: EvalSet) -> Record:
    """What a frame's score follows from, but for the frame itself."""
    ranges = (rules.min_depth, rules.max_depth, rules.longer_side, rules.fit_side)
    return {
        "version": version("apdepth-deploy"),
        "model": model.identity,
        "set": rules.dataset.name,
        "path": _place(rules.dataset),
        "rules": [str(value) for value in ranges],
    }


def _place(dataset: Dataset) -> str:
    source = getattr(dataset, "source", None)
    return "" if source is None else str(source.path.resolve())


def _scored(model: Model, rules: EvalSet, sample: Sample | DataError, frames: Frames) -> Record:
    """A frame's record, from an earlier run where that had the same. Raises DataError."""
    if isinstance(sample, DataError):
        raise sample
    key = digest(sample)
    if key not in frames.done:
        try:
            predicted = prediction(model, sample.image, rules.longer_side)
            found = dataclasses.asdict(score(predicted, sample, rules))
        except (DataError, ImageError, MemoryError) as error:
            reason = "more memory than there is" if isinstance(error, MemoryError) else error
            raise DataError(f"{sample.name}: {reason}") from error
        frames.add({"name": sample.name, "sample": key, **found})
    return frames.done[key]


def _too_many(name: str, seen: int, skipped: list[str]) -> DataError:
    if len(skipped) == seen:
        return DataError(f"{name}: not one of {seen} frames can be evaluated: {skipped[0]}")
    return DataError(
        f"{name}: {len(skipped)} of {seen} frames are missing or damaged, the first: {skipped[0]}. "
        "Mend the set, or raise --bad-samples"
    )


def _read_ahead(
    dataset: Dataset, count: int, workers: int
) -> Iterator[tuple[int, Sample | DataError]]:
    """The first samples in order, a few read ahead; a bad one as its error."""

    def read(index: int) -> Sample | DataError:
        try:
            return dataset[index]
        except DataError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[int, Future[Sample | DataError]]] = deque()
        for index in range(count):
            waiting.append((index, pool.submit(read, index)))
            if len(waiting) > 2 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for index, future in waiting:
            yield index, future.result()


def write_results(results: dict[str, Any], output: Path) -> None:
    """``results.json`` of an evaluation, whole or not at all. Raises OutputError."""
    with atomic_file(output / RESULTS_FILE) as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _summary(model: Model, name: str, records: list[Record], skipped: list[str]) -> dict[str, Any]:
    """Means over the frames; one that couldn't be evaluated counts in ``skipped`` alone."""
    means = {metric: float(np.mean([record[metric] for record in records])) for metric in METRICS}
    return {
        "model": model.label,
        "set": name,
        "frames": len(records),
        "skipped": skipped,
        **means,
    }


def _write_grid(model: Model, rules: EvalSet, good: list[int], grid: int, path: Path) -> None:
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
