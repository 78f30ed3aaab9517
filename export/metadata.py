"""What an ONNX file says of itself, so that a stranger can use it who has nothing but the file.

Entries of ``metadata_props``, all text; ``model_license`` is a name of ONNX's (MetadataProps.md).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import onnx

from apdepth_deploy.bundle import SEAMS, Bundle, Graph, axis_sizes, file_entry
from apdepth_deploy.bundle.manifest import finite
from apdepth_deploy.spec import ModelSpec

from .graphs import FUSED

_SEAM_WORDS = {
    "prior": "the prior's depth as a picture, -1 .. 1",
    "latents": "scaled latents of the prior and the frame",
    "depth_latent": "scaled latent of the depth",
}
_DEPTH = {
    "quantity": "relative depth, affine-invariant: metres = scale * depth + shift, per frame",
    "units": "none",
    "range": "0 .. 1",
    "near": "0",
    "far": "1",
}


def stamp(bundle: Bundle) -> None:
    """Write each graph's metadata into its file, and the file's new hash into the manifest.

    Raises OutputError.
    """
    for graph in bundle.graphs:
        path = bundle.path(graph.file)
        model = onnx.load(str(path), load_external_data=False)
        onnx.helper.set_model_props(model, describe(bundle, graph))
        path.write_bytes(model.SerializeToString())
        bundle.manifest["files"][graph.file] = file_entry(path)


def describe(bundle: Bundle, graph: Graph) -> dict[str, str]:
    """What a graph's file says."""
    spec, manifest = bundle.spec, bundle.manifest
    output = graph.outputs[-1].name
    told = _DEPTH if output == SEAMS["decoder"] else {"quantity": _SEAM_WORDS[output]}
    return {
        "model": spec.name,
        "graph": graph.name if graph.name == FUSED else f"stage {graph.name}",
        "precision": graph.precision,
        "input": _input(graph),
        **told,
        "size_rule": _size_rule(graph, spec),
        "conventions": json.dumps(manifest["spec"]["conventions"]),
        "model_license": bundle.license,
        "weights": "random" if bundle.random_weights else "trained",
        "producer": f"apdepth-deploy {manifest['tools']['apdepth-deploy']}",
        "parity": _parity(manifest["parity"], graph),
    }


def _input(graph: Graph) -> str:
    if graph.inputs[0].name == "image":
        return "image: uint8 RGB frames [B,H,W,3], 0 .. 255, as the camera gives them"
    return ", ".join(_SEAM_WORDS[tensor.name] for tensor in graph.inputs)


def _size_rule(graph: Graph, spec: ModelSpec) -> str:
    rules = []
    for name in ("batch", "height", "width"):
        low, opt, high = axis_sizes(getattr(graph, name))
        step = "" if name == "batch" else f", multiples of {spec.latent_stride}"
        rules.append(
            f"{name} {opt}" if low == high else f"{name} {low} .. {high}{step}, tuned for {opt}"
        )
    return "; ".join(rules)


def _parity(records: list[dict[str, Any]], graph: Graph) -> str:
    """How near to PyTorch's float32 the graph was at export, and a digest of the records."""
    own = [
        one
        for one in records
        if (one["graph"], one["precision"]) == (graph.kind, graph.precision)
        and graph.name in (FUSED, one["stage"])
    ]
    if not own:
        return "not measured"
    passed = all(one["passed"] for one in own)
    worst = max(own, key=lambda one: one["max_abs"])
    return (
        f"{'passed' if passed else 'missed'}: {worst['backend']} against PyTorch float32, "
        f"{len(own)} comparisons, largest difference {worst['max_abs']:.2g} ({worst['stage']}, "
        f"{worst['frame']}); records sha256 {records_digest(own)}"
    )


def records_digest(records: list[dict[str, Any]]) -> str:
    """SHA-256 of parity records as JSON with sorted names and no spaces."""
    text = json.dumps(finite(records), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
