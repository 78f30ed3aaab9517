"""Checkpoint -> bundle: PyTorch modules traced to strongly typed ONNX graphs, and engines built.

``export_bundle`` brings in torch and ``build_engines`` onnx: both are imported on use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .shapes import FrameShape, parse_shape

if TYPE_CHECKING:
    from .bundle_export import export_bundle
    from .engine_build import build_engines

__all__ = ["FrameShape", "build_engines", "export_bundle", "parse_shape"]


def __getattr__(name: str) -> Any:
    if name == "export_bundle":
        from .bundle_export import export_bundle

        return export_bundle
    if name == "build_engines":
        from .engine_build import build_engines

        return build_engines
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
