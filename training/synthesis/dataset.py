"""Rendered scenes as a data set on disk.

    DATA/manifest.json          settings, generator and versions, frames of each split
    DATA/SPLIT/list.txt         "rgb depth" lines, written when the split is complete
    DATA/SPLIT/000012_0_rgb.png     scene 12, view 0: uint8 sRGB
    DATA/SPLIT/000012_0_depth.png   uint16 millimetres along the optical axis; 0 = sky
    DATA/SPLIT/000012_path.json     of a camera's path: the kind, "intrinsics" fx, fy, cx, cy (pixel
                                    centres at whole numbers), and in "poses" a 4x4 for each view,
                                    camera (x right, y down, z forward) to world, metres

A scene follows from seed, split and number alone: splits share none, and a larger set holds the
smaller ones.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from apdepth_deploy.bundle import version
from apdepth_deploy.console import Steps
from apdepth_deploy.errors import DataError, OutputError, UsageError
from apdepth_deploy.files import atomic_file, sweep

from ..data.text import read_text

if TYPE_CHECKING:
    from .scenes import View

SCHEMA_VERSION = 1
#: Raised with every change that makes other pictures of the same seed.
GENERATOR = 2
#: In the order of rendering: what is short and looked at first comes first. Part of the seed.
SPLITS = ("test", "val", "train")
#: How a camera may move through a scene: ``paths.py``.
PATHS = ("handheld", "pan", "drive", "cut", "enter")
_MILLIMETRES = 1000.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a set's pictures follow from.

    Attributes:
        seed: draws all scenes.
        height, width: in pixels.
        spp: light paths a pixel, before they are denoised: more take longer and keep finer detail.
        views: frames of one scene, each from elsewhere: they share the time that building it takes.
        path: one of ``PATHS``, on which the views of a scene follow each other; None = on none.
    """

    seed: int = 0
    height: int = 192
    width: int = 256
    spp: int = 4
    views: int = 1
    path: str | None = None

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 16 or min(self.spp, self.views) < 1 or self.seed < 0:
            raise UsageError(
                "height and width must be at least 16, spp and views at least 1, seed at least 0"
            )
        if self.path is not None and (self.path not in PATHS or self.views < 2):
            raise UsageError(f"a path is one of {', '.join(PATHS)}, and takes 2 --views or more")


@dataclasses.dataclass(frozen=True)
class _Job:
    folder: Path
    settings: Settings
    split: str
    scene: int
    views: int


def synthesize(
    folder: Path,
    settings: Settings,
    frames: Mapping[str, int],
    workers: int,
    progress: Steps,
) -> None:
    """Render what is missing of a set: frames that are there stay.

    Args:
        frames: how many for each of ``SPLITS``; a split of none is left as it is.
        workers: processes, each with one thread.

    Raises:
        UsageError: the folder holds a set with other settings.
        OutputError: it can't be written, or a worker died.
    """
    if min(frames.values()) < 0 or workers < 1:
        raise UsageError("frames can't be fewer than 0, nor workers fewer than 1")
    frames = {split: count for split, count in frames.items() if count}
    if not frames:
        raise UsageError("no split has a frame: give --train, --val or --test more than 0")
    if settings.path and any(count % settings.views for count in frames.values()):
        raise UsageError("a path is rendered whole: --train, --val, --test in multiples of --views")
    _write_manifest(folder, settings, frames)
    spawn = multiprocessing.get_context("spawn")  # Mitsuba's threads don't survive a fork
    with ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent) as pool:
        for split in (split for split in SPLITS if split in frames):
            (folder / split).mkdir(exist_ok=True)
            sweep(folder / split)
            jobs = _jobs(folder, settings, split, frames[split])
            missing = [job for job in jobs if not _is_done(job)]
            _render_all(missing, pool, 2 * workers, f"{split}: ", progress)
            names = _names(frames[split], settings.views)
            lines = [f"{name}_rgb.png {name}_depth.png" for name in names]
            with atomic_file(folder / split / "list.txt") as path:
                path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            progress(f"{split}: {frames[split]} frames")


def _names(frames: int, views: int) -> list[str]:
    return [f"{number // views:06d}_{number % views}" for number in range(frames)]


def _jobs(folder: Path, settings: Settings, split: str, frames: int) -> Iterator[_Job]:
    views = settings.views
    for first in range(0, frames, views):
        yield _Job(folder, settings, split, first // views, min(views, frames - first))


def _paths(job: _Job, view: int) -> tuple[Path, Path]:
    stem = job.folder / job.split / f"{job.scene:06d}_{view}"
    return stem.with_name(stem.name + "_rgb.png"), stem.with_name(stem.name + "_depth.png")


def _path_file(job: _Job) -> Path:
    return job.folder / job.split / f"{job.scene:06d}_path.json"


def _is_done(job: _Job) -> bool:
    if job.settings.path and not _path_file(job).is_file():
        return False
    return all(path.is_file() for view in range(job.views) for path in _paths(job, view))


def _render_all(
    jobs: list[_Job], pool: ProcessPoolExecutor, under_way: int, what: str, progress: Steps
) -> None:
    """All jobs, in parallel, so many under way."""
    began, done, told = time.monotonic(), 0, 0.0
    waiting: set[Future[None]] = set()
    try:
        for job in jobs:
            waiting.add(pool.submit(_render_job, job))
            if len(waiting) < under_way and job is not jobs[-1]:
                continue
            least = ALL_COMPLETED if job is jobs[-1] else FIRST_COMPLETED
            finished, waiting = wait(waiting, return_when=least)
            for future in finished:
                future.result()
            done += len(finished)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                progress(what + _pace(done, len(jobs), told - began))
    except BrokenProcessPool as error:
        raise OutputError(
            "a rendering process died, perhaps for want of memory: run again with fewer "
            "--workers; frames already written stay"
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _end_with_parent() -> None:
    """A worker's life ends with the process that started it, also where that one is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in workers alone"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _pace(done: int, scenes: int, seconds: float) -> str:
    left = seconds / max(done, 1) * (scenes - done)
    return f"{done} of {scenes} scenes, {done / seconds:.2f} a second, {left / 60:.0f} min left"


def _render_job(job: _Job) -> None:
    """One scene's frames to files, the depth last: what has depth is whole."""
    from .paths import render_path
    from .render import render_scene, use_threads

    use_threads(1)
    settings = job.settings
    seed = (settings.seed, SPLITS.index(job.split), job.scene)
    size = settings.height, settings.width
    if settings.path is None:
        frames = render_scene(seed, job.views, size, settings.spp)
    else:
        frames = render_path(seed, settings.path, job.views, size, settings.spp)
    for view, frame in enumerate(frames):
        rgb, depth = _paths(job, view)
        millimetres = (frame.depth * _MILLIMETRES).round().astype(np.uint16)
        for path, values in ((rgb, frame.image), (depth, millimetres)):
            with atomic_file(path) as temporary:
                Image.fromarray(values).save(temporary, format="PNG")
    if settings.path is not None:
        _write_path(job, [frame.view for frame in frames])


def _write_path(job: _Job, views: list[View]) -> None:
    height, width = job.settings.height, job.settings.width
    focal = width / 2 / np.tan(np.radians(views[0].fov) / 2)
    found = {
        "path": job.settings.path,
        "intrinsics": [focal, focal, (width - 1) / 2, (height - 1) / 2],
        "poses": [view.pose().tolist() for view in views],
    }
    with atomic_file(_path_file(job)) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def _write_manifest(folder: Path, settings: Settings, frames: Mapping[str, int]) -> None:
    path = folder / "manifest.json"
    made = {
        "schema_version": SCHEMA_VERSION,
        "generator": GENERATOR,
        "mitsuba": version("mitsuba"),
        "settings": dataclasses.asdict(settings),
    }
    there: Mapping[str, int] = {}
    if path.exists():
        there = _frames_of_same(path, made)
    elif folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} exists and is not a rendered set: choose another -o")
    manifest = {**made, "frames": {**there, **frames}}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _frames_of_same(path: Path, made: Mapping[str, Any]) -> Mapping[str, int]:
    """The frames that a manifest counts. Raises UsageError where it is another set's."""
    try:
        there = json.loads(read_text(path))
        old = {**dataclasses.asdict(Settings()), **there, **there.get("settings", {})}
        frames = dict(there["frames"])
    except (DataError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} can't be read ({error}): choose another -o") from error
    new = {**made, **made["settings"]}
    changed = [key for key in new if key != "settings" and old.get(key) != new[key]]
    if changed:
        differences = ", ".join(f"{key} {old.get(key)} there, {new[key]} here" for key in changed)
        raise UsageError(f"{path.parent} holds another set ({differences}): choose another -o")
    return frames
