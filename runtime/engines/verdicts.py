"""What came of comparing engines with golden frames on this machine, kept beside the kernels.

A small file for each set of files, device, driver, library and precision. Knows nothing about
frames.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import OutputError
from apdepth_deploy.files import atomic_file

from .cache import cache_folder


@dataclasses.dataclass(frozen=True)
class Place:
    """What ran it. Another device, driver or library may compute something else."""

    device: str
    driver: str
    library: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of one comparison.

    Attributes:
        backend, graph, precision: graph is "fused" or "staged".
        files: SHA-256 of the files that ran.
        stage: the first that missed, or "" where all kept to the thresholds.
        bundle: where it lay; made: when it was judged.
    """

    backend: str
    graph: str
    precision: str
    place: Place
    files: tuple[str, ...]
    stage: str
    bundle: str = ""
    made: str = ""

    @property
    def passed(self) -> bool:
        return not self.stage

    def __str__(self) -> str:
        """In a line."""
        found = "passed" if self.passed else f"missed in stage {self.stage!r}"
        return (
            f"{self.graph}.{self.precision} ({self.files[0][:12]}, {self.bundle}) with "
            f"{self.backend} {self.place.library} on {self.place.device}"
            f"{self.place.driver and f', driver {self.place.driver}'}: {found}, {self.made}"
        )


def hashes(bundle: Bundle, files: Iterable[str]) -> tuple[str, ...]:
    """Of a bundle's files, as its manifest has them."""
    return tuple(bundle.manifest["files"][file]["sha256"] for file in files)


def keep(verdict: Verdict) -> str:
    """In place of an earlier one of the same; why it can't be written, or ""."""
    path = _path(verdict.backend, verdict.precision, verdict.place, verdict.files)
    if path is None:
        return "there is no home folder"
    made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    try:
        with atomic_file(path) as temporary:
            text = json.dumps({**dataclasses.asdict(verdict), "made": made}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")
    except OutputError as error:
        return str(error)
    return ""


def kept(backend: str, precision: str, place: Place, files: tuple[str, ...]) -> Verdict | None:
    """What is known here of these files; None where they were never judged."""
    path = _path(backend, precision, place, files)
    verdict = None if path is None else _read(path)
    same = verdict and (verdict.backend, verdict.precision, verdict.place, verdict.files)
    return verdict if same == (backend, precision, place, files) else None


def all_kept() -> list[Verdict]:
    """The oldest first."""
    folder = cache_folder()
    found = map(_read, (folder / "verdicts").glob("*.json")) if folder else ()
    return sorted((one for one in found if one is not None), key=lambda one: one.made)


def _path(backend: str, precision: str, place: Place, files: tuple[str, ...]) -> Path | None:
    folder = cache_folder()
    key = json.dumps([backend, precision, dataclasses.astuple(place), files])
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return folder and folder / "verdicts" / f"{name}.json"


def _read(path: Path) -> Verdict | None:
    """None where there is nothing that can be read: it is judged again."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        place, files = Place(**data["place"]), tuple(data["files"])
        verdict = Verdict(**{**data, "place": place, "files": files})
        str(verdict)
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None
    return verdict
