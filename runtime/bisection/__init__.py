"""From a miss to the layer that departs, and to the smallest graph that does, with Polygraphy."""

from __future__ import annotations

import os

#: Polygraphy's choice of TensorRT: it is read while that is imported.
RTX_SWITCH = "POLYGRAPHY_USE_TENSORRT_RTX"


def choose_tensorrt(backend: str) -> None:
    """Before another module of this room is imported: which of the two TensorRTs it is about."""
    os.environ[RTX_SWITCH] = "1" if backend == "tensorrt-rtx" else "0"
