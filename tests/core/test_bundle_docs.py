"""docs/bundle.md names every field that a reader checks, and every key of a graph file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from apdepth_deploy.bundle import manifest

PAGE = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table",
    ["_MANIFEST", "_SOURCE", "_GRAPH", "_FOLDING", "_ENGINE", "_TENSOR", "_FILE", "_PARITY"],
)
def test_every_field_that_is_checked_is_described(table: str) -> None:
    missing = [name for name in getattr(manifest, table) if f"`{name}" not in PAGE]
    assert not missing


def test_every_key_of_a_graph_file_is_described(micro_bundle: Path) -> None:
    for name in ("fused.fp16", "unet.fp32"):
        model = onnx.load(micro_bundle / "onnx" / f"{name}.onnx", load_external_data=False)
        assert model.metadata_props
        assert not [one.key for one in model.metadata_props if f"`{one.key}`" not in PAGE]
