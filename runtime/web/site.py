"""The site: the page, a bundle's fused graph and its weights, and onnxruntime-web.

site/index.html, main.js, ...    the page, as `serve` shows it; source.js runs the graph
site/site.json                   what the page is told of the graph, and the site's files
site/model/                      the graph and its weights, under their names in the bundle
site/onnxruntime/                what browsers load of onnxruntime-web
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from apdepth_deploy.bundle import Bundle, Graph, axis_sizes, to_json, version
from apdepth_deploy.errors import BackendError
from apdepth_deploy.files import atomic_folder

from ..engines.wanted import Wanted, wanted_graphs
from ..page import page_files
from .onnxruntime_web import put_onnxruntime_web

SITE = "site.json"
_MADE_BY = "apdepth-deploy web"
#: What the graph's own precisions are to browsers, best first. fp16 needs a GPU that has it.
_PRECISIONS = ("fp32", "fp16")
#: What GitHub takes of one file.
_LARGE = 100 << 20
#: The page may load from its own host alone; ``blob:`` is what it saves and shows of pictures.
_POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'none'"
)
_HEAD = b'<meta charset="utf-8">\n'


def write_site(
    bundle: str | Path,
    output: str | Path,
    precision: str | None = None,
    package: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> list[str]:
    """Write the site whole or not at all; returns what the user has to know of it.

    Args:
        package: folder of the npm package onnxruntime-web; None: fetched from npm's registry.

    Raises:
        BundleError: not a bundle, or a damaged one. BackendError: it has no graph that browsers
            can run; onnxruntime-web can't be had, or is not the one that is wanted.
        OutputError: ``output`` exists and is not ours, or can't be written.
    """
    opened = Bundle.open(bundle)
    with atomic_folder(Path(output), is_site) as folder:
        progress(f"checking and copying the graph of {opened.folder}")
        graph = _graph(opened, precision)
        _put_model(opened, graph, folder)
        _put_page(folder)
        put_onnxruntime_web(folder / "onnxruntime", package, progress)
        _describe(opened, graph, folder)
    return list(_notes(opened, graph))


def is_site(folder: Path) -> bool:
    """Whether ``write_site`` made all of it, so that another may take its place."""
    try:
        described = json.loads((folder / SITE).read_bytes())
        ours = described["made_by"] == _MADE_BY and set(described["files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return bool(ours) and set(_names(folder)) <= ours


def _names(folder: Path) -> Iterator[str]:
    """Of everything in it but folders."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _graph(bundle: Bundle, precision: str | None) -> Graph:
    """The fused one, its files compared with the manifest."""
    wanted = Wanted(precision=precision, graph="fused")
    _, _, (graph,) = wanted_graphs(bundle, "onnxruntime-web", _PRECISIONS, wanted)
    least = axis_sizes(graph.batch)[0]
    if least > 1:
        raise BackendError(
            f"the graph takes {least} frames at a time, and a browser has one: "
            "export with --batch 1"
        )
    return graph


def _put_model(bundle: Bundle, graph: Graph, folder: Path) -> None:
    (folder / "model").mkdir()
    for name in (graph.file, graph.data):
        shutil.copyfile(bundle.path(name), folder / _place(name))


def _place(name: str) -> str:
    """Where a file of the bundle lies in the site."""
    return f"model/{PurePosixPath(name).name}"


def _put_page(folder: Path) -> None:
    policy = f'  <meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'.encode()
    for name, content in page_files("browser").items():
        if name == "index.html":
            assert content.count(_HEAD) == 1
            content = content.replace(_HEAD, _HEAD + policy)
        (folder / name).write_bytes(content)


def _describe(bundle: Bundle, graph: Graph, folder: Path) -> None:
    """``site.json``, last: it names every other file."""
    sides = graph.height, graph.width
    fixed = all(isinstance(side, int) for side in sides)
    model: dict[str, Any] = {
        "name": bundle.folder.absolute().name or "bundle",
        "files": [
            {"name": _place(name), "size": bundle.manifest["files"][name]["size"]}
            for name in (graph.file, graph.data)
        ],
        "precision": graph.precision,
        "height": graph.height,
        "width": graph.width,
        "stride": bundle.spec.latent_stride,
        "frame": {"height": graph.height, "width": graph.width} if fixed else None,
        "meaning": bundle.manifest["depth"],
        "license": bundle.license,
        "random_weights": bundle.random_weights,
    }
    described = {
        "made_by": _MADE_BY,
        "version": version("apdepth-deploy"),
        "model": model,
        "files": sorted([*_names(folder), SITE]),
    }
    (folder / SITE).write_text(to_json(described) + "\n", encoding="utf-8")


def _notes(bundle: Bundle, graph: Graph) -> Iterator[str]:
    size = bundle.manifest["files"][graph.data]["size"]
    if size > _LARGE:
        yield (
            f"each visitor loads {size / 1e6:.0f} MB of weights, and GitHub takes no file above "
            f"{_LARGE >> 20} MiB"
        )
    if bundle.random_weights:
        yield "the weights are random: this depth means nothing"
