"""Checkpoint -> bundle: PyTorch modules traced to strongly typed ONNX graphs.

``export_bundle`` brings in torch, and is imported on use: ``export --help`` does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .shapes import FrameShape, parse_shape

if TYPE_CHECKING:
    from .bundle_export import export_bundle

__all__ = ["FrameShape", "export_bundle", "parse_shape"]


def __getattr__(name: str) -> Any:
    if name == "export_bundle":
        from .bundle_export import export_bundle

        return export_bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
