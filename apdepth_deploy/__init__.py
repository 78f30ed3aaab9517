"""Diffusion depth on a robot: from an ApDepth checkpoint to low-latency depth.

    from apdepth_deploy import fit_metres, load
    predictor = load("bundle")
    depth = predictor(image)        # uint8 [H,W,3] RGB -> float32 [H,W], 0 near .. 1 far
    metres = fit_metres(depth, anchors).metres(depth)   # anchors [N,3]: x, y, z

Importing this package imports neither torch nor an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apdepth_deploy.bundle import version as _version
from apdepth_deploy.errors import ApDepthError
from apdepth_deploy.machine.telemetry import switch_off

if TYPE_CHECKING:
    from apdepth_deploy.runtime import Fit, Predictor, Stabilizer, fit_metres, load

switch_off()  # before anybody imports what it is for

__version__ = _version("apdepth-deploy") or "unknown"

__all__ = ["ApDepthError", "Fit", "Predictor", "Stabilizer", "__version__", "fit_metres", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from apdepth_deploy import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
