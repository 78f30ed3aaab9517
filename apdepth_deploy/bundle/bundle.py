"""Reads, checks and writes bundles' manifests. Knows nothing about what is in a graph."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apdepth_deploy.bundle.manifest import SCHEMA_VERSION, check_manifest, finite, parse_manifest
from apdepth_deploy.errors import ApDepthError, BundleError
from apdepth_deploy.files import atomic_file, sha256
from apdepth_deploy.spec import ModelSource, ModelSpec

MANIFEST = "manifest.json"
#: Ways from frame to depth: one graph, or one per stage. The first is preferred.
KINDS = ("fused", "staged")
#: What each stage's result is called in the graphs, in the order in which they run.
SEAMS = {"prior": "prior", "encoder": "latents", "unet": "depth_latent", "decoder": "depth"}
#: Bytes of one weight.
ITEM_SIZE = {"fp32": 4, "fp16": 2, "bf16": 2}

_TOOLS = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One input or output. A dynamic dimension is [min, opt, max] instead of a number."""

    name: str
    dtype: str
    shape: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Graph:
    """One ONNX graph of a bundle.

    Attributes:
        name: "fused", or a stage's name.
        precision: what the weights and the arithmetic are in; seams and islands are float32.
        file, data: paths inside the bundle, of the graph and of its weights.
        height, width, batch: size of a frame; [min, opt, max] where the graph takes a range.
        parameters: number of weights in the graph; nodes: number of ONNX nodes.
        gflop: by stage, 2 operations per multiply-add, for the (opt) size.
    """

    name: str
    precision: str
    file: str
    data: str
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    batch: Any
    height: Any
    width: Any
    parameters: int
    nodes: int
    gflop: Mapping[str, float]

    @property
    def label(self) -> str:
        return f"{self.name}.{self.precision}"

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` it is part of."""
        return "fused" if self.name == "fused" else "staged"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """From an entry that ``check_manifest`` let pass."""
        tensors = {
            key: tuple(TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in data[key])
            for key in ("inputs", "outputs")
        }
        known = {field.name: data[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**known, **tensors})


@dataclasses.dataclass(frozen=True)
class Engine:
    """One TensorRT plan of a bundle, built from the graph of the same name and precision.

    Attributes:
        graph, precision: which graph it was built from.
        target: "tensorrt" or "tensorrt-rtx"; version: of the one that built it, and must run it.
        compute_capabilities: of the GPUs it runs on, such as ("8.6", "8.9").
        platform: operating system and processor, such as "linux-x86_64".
        file: path inside the bundle of the plan, with nothing of ours in it.
        batch, height, width: size of a frame; [min, opt, max] for a range.
        weights: how many weights the graph holds, by type: {"fp16": 540_000, "fp32": 170}.
        weights_bytes, activation_bytes: device memory, as the builder's log says.
        layers: number of layers in the network that the builder was given.
        seconds: parsing and building took.
        verified: golden frames went through it and kept to the thresholds; verified_on: where, as
            {"device", "driver", "library"}, and None where it was never run.
    """

    graph: str
    precision: str
    target: str
    version: str
    compute_capabilities: tuple[str, ...]
    platform: str
    file: str
    batch: Any
    height: Any
    width: Any
    weights: Mapping[str, int]
    weights_bytes: int
    activation_bytes: int
    layers: int
    seconds: float
    verified: bool = False
    verified_on: Mapping[str, str] | None = None

    @property
    def label(self) -> str:
        """As that of the graph it was built from."""
        return f"{self.graph}.{self.precision}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Engine:
        """From an entry that ``check_manifest`` let pass; an earlier bundle's says less."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name: value for name, value in data.items() if name in names}
        return cls(**{**known, "compute_capabilities": tuple(data["compute_capabilities"])})


@dataclasses.dataclass
class Bundle:
    """An opened bundle: its folder and what its manifest says."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read and check a manifest, and that every file it names is there with its size.

        Hashes cost time on big files: ``check_hash`` compares those of the files that are used.

        Raises:
            BundleError: no manifest, an unknown schema_version, a path that leaves the bundle, a
                missing file or one of another size. The message names it.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            manifest = parse_manifest(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"{folder} is no bundle: it has no {MANIFEST}. Make one with `export`"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} can't be read: {error}. Export the bundle again") from error
        bundle = cls(folder, manifest)
        try:
            check_manifest(manifest)
            bundle._check_spec()
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        for name, entry in manifest["files"].items():
            bundle._check_file(name, entry["size"])
        return bundle

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec.from_json(self.manifest["spec"])

    @property
    def graphs(self) -> tuple[Graph, ...]:
        return tuple(Graph.from_json(graph) for graph in self.manifest["graphs"])

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(Engine.from_json(engine) for engine in self.manifest["engines"])

    @property
    def chains(self) -> list[tuple[str, str]]:
        """Ways from frame to depth: ("fused" or "staged", precision), as exported."""
        found = []
        for graph in self.graphs:
            chain = (graph.kind, graph.precision)
            if chain not in found:
                found.append(chain)
        return found

    def chain_graphs(self, kind: str, precision: str) -> tuple[Graph, ...]:
        """The graphs of one chain, in the order in which they run."""
        return tuple(
            graph for graph in self.graphs if (graph.kind, graph.precision) == (kind, precision)
        )

    @property
    def frame_extents(self) -> tuple[Any, Any, Any]:
        """(batch, height, width) that the graphs take; BundleError where there is no graph."""
        if not self.graphs:
            raise BundleError(f"{self.folder} has no graphs. Export the bundle again")
        first = self.graphs[0]
        return first.batch, first.height, first.width

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(batch, height, width) that the graphs are made or tuned for."""
        batch, height, width = (axis_sizes(n)[1] for n in self.frame_extents)
        return batch, height, width

    @property
    def frame_ends(self) -> tuple[tuple[int, int, int], ...]:
        """The smallest and the largest (batch, height, width), where the graphs take a range."""
        if all(isinstance(n, int) for n in self.frame_extents):
            return ()
        b, h, w = (axis_sizes(n) for n in self.frame_extents)
        return (b[0], h[0], w[0]), (b[2], h[2], w[2])

    @property
    def random_weights(self) -> bool:
        """True where the weights were drawn, not trained: depth from it means nothing."""
        return bool(self.manifest["source"]["kind"] == "random")

    @property
    def license(self) -> str:
        """Of each part, for people: "weights apache-2.0, prior not stated"."""
        parts = self.manifest.get("license") or {"weights": None}
        return ", ".join(f"{part} {name or 'not stated'}" for part, name in parts.items())

    def source(self, checkpoint: str | None = None) -> ModelSource:
        """Where the PyTorch weights are: in ``checkpoint``, or where the manifest says.

        What was put over the weights (prior, unet, conventions) stays. Raises CheckpointError
        where the manifest can't say.
        """
        data = dict(self.manifest["source"])
        if checkpoint:
            for gone in ("seed", "revision"):
                data.pop(gone, None)
            data |= {"kind": "checkpoint", "name": checkpoint}
        known = {field.name for field in dataclasses.fields(ModelSource)} - {"model"} | {"kind"}
        return ModelSource.from_json({key: data[key] for key in data.keys() & known})

    def path(self, name: str) -> Path:
        """Where a file of the manifest lies."""
        return self.folder / name

    def check_hash(self, name: str) -> None:
        """Raises BundleError where a file's bytes are not those that were exported."""
        path = self.path(name)
        try:
            found = sha256(path)
        except OSError as error:
            raise BundleError(f"{path} can't be read: {error.strerror}") from error
        if found != self.manifest["files"][name]["sha256"]:
            raise BundleError(
                f"{path} is damaged: its SHA-256 is not the manifest's. "
                "Copy the bundle again, or export it again"
            )

    def write_manifest(self) -> None:
        """Replace ``manifest.json`` whole, or leave it as it was."""
        with atomic_file(self.folder / MANIFEST) as temporary:
            temporary.write_text(to_json(self.manifest) + "\n", encoding="utf-8")

    def _check_spec(self) -> None:
        try:
            stride = self.spec.latent_stride
            sides = [side for graph in self.graphs for side in (graph.height, graph.width)]
            fits = all(n % stride == 0 for side in sides for n in axis_sizes(side))
        except (ApDepthError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise BundleError(f"its spec is not one of ours: {error}") from error
        if not fits:
            raise BundleError(f"a height or width is no multiple of {stride}. Export it again")

    def _check_file(self, name: str, size: int) -> None:
        path = self.path(name)
        try:
            if not path.is_file():
                raise BundleError(f"{path} is missing from the bundle: copy the whole folder")
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise BundleError(f"{path} is a link that leaves the bundle: copy the file itself")
            found = path.stat().st_size
        except OSError as error:
            raise BundleError(f"{path} can't be read: {error.strerror}") from error
        if found != size:
            raise BundleError(f"{path} has {found} bytes, the manifest says {size}: copy it again")


def axis_sizes(extent: Any) -> list[int]:
    """[min, opt, max] of what a manifest says of one axis."""
    return [extent] * 3 if isinstance(extent, int) else list(extent)


def to_json(data: Any) -> str:
    """What is written and printed for programs: strict JSON, null for infinities and NaN."""
    return json.dumps(finite(data), indent=1, allow_nan=False)


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle and nothing else, so that another may take its place."""
    names = {path.name for path in folder.iterdir()}
    return {MANIFEST, "onnx"} <= names <= {MANIFEST, "onnx", "engines", "golden"}


def file_entry(path: Path) -> dict[str, Any]:
    """What the manifest says of one file."""
    return {"sha256": sha256(path), "size": path.stat().st_size}


def new_manifest(spec: ModelSpec, source: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without graphs: who made it, when, with what, and from which weights."""
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tools": {"apdepth-deploy": version("apdepth-deploy"), "python": platform.python_version()}
        | {name: found for name in _TOOLS if (found := version(name))},
        "source": dict(source),
        "depth": "float32, affine-invariant, 0 = near, 1 = far",
        "spec": spec.to_json(),
        "graphs": [],
        "engines": [],
        "parity": [],
        "files": {},
    }


def version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
