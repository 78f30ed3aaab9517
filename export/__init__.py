"""Checkpoint -> bundle: PyTorch modules traced to strongly typed ONNX graphs."""

from .bundle_export import export_bundle
from .shapes import FrameShape, parse_shape

__all__ = ["FrameShape", "export_bundle", "parse_shape"]
