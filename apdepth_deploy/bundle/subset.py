"""A smaller copy of a bundle: what one machine runs, no more. Knows nothing about running."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apdepth_deploy.bundle.bundle import KINDS, Bundle, is_bundle
from apdepth_deploy.bundle.manifest import PRECISIONS
from apdepth_deploy.errors import BundleError, UsageError
from apdepth_deploy.files import atomic_folder


@dataclasses.dataclass(frozen=True)
class Keep:
    """What stays; an empty tuple keeps all of its kind.

    Attributes:
        precisions: of graphs and engines; graphs: of ``KINDS``.
        gpus: compute capabilities such as "8.9", whose engines stay; "none": no engine stays.
    """

    precisions: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises UsageError for a word that no bundle has."""
        for words, known in ((self.precisions, PRECISIONS), (self.graphs, KINDS)):
            for word in words:
                if word not in known:
                    raise UsageError(f"unknown {word!r}: choose of {', '.join(known)}")

    def has_graph(self, name: str, precision: str) -> bool:
        kind = "fused" if name == "fused" else "staged"
        return _allows(self.precisions, precision) and _allows(self.graphs, kind)

    def has_engine(self, engine: dict[str, Any]) -> bool:
        fits = not self.gpus or set(self.gpus) & set(engine["compute_capabilities"])
        return bool(fits) and self.has_graph(engine["graph"], engine["precision"])


def write_subset(bundle: Bundle, target: Path, keep: Keep) -> Bundle:
    """Copy what stays into a new folder, which appears whole; hashes are compared on the way.

    The manifest is the same but for what went; parity records of graphs that went go with them.

    Raises:
        BundleError: nothing of what was asked for is there, or a file is damaged.
        OutputError: ``target`` is something else than a bundle, or can't be written.
    """
    manifest = _reduced(bundle, keep)
    with atomic_folder(target, is_bundle) as folder:
        for name in manifest["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            bundle.check_hash(name)
            shutil.copyfile(bundle.path(name), folder / name)
        copy = Bundle(folder, manifest)
        copy.write_manifest()
        Bundle.open(folder)
    return Bundle(target, manifest)


def _reduced(bundle: Bundle, keep: Keep) -> dict[str, Any]:
    before = bundle.manifest
    graphs = [g for g in before["graphs"] if keep.has_graph(g["name"], g["precision"])]
    engines = [engine for engine in before["engines"] if keep.has_engine(engine)]
    if not graphs:
        there = ", ".join(f"{kind} {precision}" for kind, precision in bundle.chains)
        raise BundleError(f"{bundle.folder} has {there or 'no graphs'}: nothing of it would stay")
    if keep.gpus and "none" not in keep.gpus and not engines:
        raise BundleError(f"{bundle.folder} has no engine for {', '.join(keep.gpus)}: build one")
    chains = {(_kind(graph["name"]), graph["precision"]) for graph in graphs}
    # The golden frames stay: any graph is verified by them.
    gone = _files(before["graphs"], before["engines"]) - _files(graphs, engines)
    return {
        **before,
        "graphs": graphs,
        "engines": engines,
        "parity": [r for r in before["parity"] if (_kind(r["graph"]), r["precision"]) in chains],
        "files": {name: entry for name, entry in before["files"].items() if name not in gone},
    }


def _kind(name: str) -> str:
    return "fused" if name == "fused" else "staged"


def _allows(words: tuple[str, ...], word: str) -> bool:
    return not words or word in words


def _files(graphs: Iterable[dict[str, Any]], engines: Iterable[dict[str, Any]]) -> set[str]:
    pairs = {name for graph in graphs for name in (graph["file"], graph["data"])}
    return pairs | {engine["file"] for engine in engines}
