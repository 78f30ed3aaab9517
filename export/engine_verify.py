"""Engines that were just built, compared with the golden frames where a GPU for them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from apdepth_deploy.bundle import Bundle, Engine
from apdepth_deploy.errors import BackendError
from apdepth_deploy.machine.devices import nvidia_gpus
from apdepth_deploy.verify import raise_on_miss, verify_backend


def verify_built(
    folder: Path, target: str, built: Sequence[Engine], progress: Callable[[str], None]
) -> list[Engine]:
    """The engines with what came of it, which the manifest says from now on.

    Raises ParityError where they stray from PyTorch.
    """
    bundle = Bundle.open(folder)
    reason = _why_not(bundle, built)
    if reason:
        progress(f"note: not verified, for {reason}: `verify --backend {target}` does it there")
        return list(built)
    files = {engine.file for engine in built}
    records = []
    for precision in dict.fromkeys(engine.precision for engine in built):
        try:
            judged = verify_backend(bundle, target, precision=precision, progress=progress)
        except BackendError as error:  # part of a staged chain, or no room for it
            progress(f"note: the {precision} engines were not verified: {error}")
            continue
        for verdict, found in judged:
            records += found
            _mark(folder, files, verdict.files, verdict.passed, dataclasses.asdict(verdict.place))
    raise_on_miss(records)
    return [engine for engine in Bundle.open(folder).engines if engine.file in files]


def _why_not(bundle: Bundle, built: Sequence[Engine]) -> str:
    """Why nothing can be verified here, or ""."""
    here = [gpu["compute_capability"] for gpu in nvidia_gpus()][:1]
    if not here:
        return "this machine has no NVIDIA GPU"
    if not any(here[0] in engine.compute_capabilities for engine in built):
        return f"the GPU here has compute capability {here[0]}"
    return "" if bundle.manifest.get("golden") else "the bundle has no golden frames"


def _mark(
    folder: Path, files: set[str], hashes: tuple[str, ...], passed: bool, place: dict[str, str]
) -> None:
    """Those of ``files`` that ran, by their SHA-256."""
    bundle = Bundle.open(folder)
    for entry in bundle.manifest["engines"]:
        file = entry["file"]
        if file in files and bundle.manifest["files"][file]["sha256"] in hashes:
            entry |= {"verified": passed, "verified_on": place}
    bundle.write_manifest()
