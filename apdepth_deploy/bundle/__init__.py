"""The bundle: a folder with ``manifest.json``, ``onnx/`` and ``engines/``, and nothing of torch."""

from apdepth_deploy.bundle.bundle import (
    ITEM_SIZE,
    KINDS,
    MANIFEST,
    SEAMS,
    Bundle,
    Engine,
    Graph,
    TensorInfo,
    axis_sizes,
    file_entry,
    is_bundle,
    new_manifest,
    to_json,
    version,
)
from apdepth_deploy.bundle.manifest import PRECISIONS

__all__ = [
    "ITEM_SIZE",
    "KINDS",
    "MANIFEST",
    "PRECISIONS",
    "SEAMS",
    "Bundle",
    "Engine",
    "Graph",
    "TensorInfo",
    "axis_sizes",
    "file_entry",
    "is_bundle",
    "new_manifest",
    "to_json",
    "version",
]
