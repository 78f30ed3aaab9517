"""What the manifest says of folding: what was folded, and the model's size before and after."""

from __future__ import annotations

from typing import Any

from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.networks import empty_model, gflop_of, parameters_of
from apdepth_deploy.spec import ModelSpec

from . import Folded, fold


def folding_record(spec: ModelSpec, size: tuple[int, int, int], wanted: bool) -> dict[str, Any]:
    """The manifest's ``folding``, counted without weights.

    Args:
        size: (batch, height, width) of the call whose GFLOP are counted.
        wanted: whether ``fold`` is used at all.
    """
    before = _sizes(empty_model(spec), size)
    model = empty_model(spec)
    folded = fold(model) if wanted else Folded()
    return {
        "applied": list(folded.applied),
        "skipped": dict(folded.skipped),
        "before": before,
        "after": _sizes(model, size) if wanted else before,
    }


def _sizes(model: ApDepth, size: tuple[int, int, int]) -> dict[str, Any]:
    gflop = {stage: round(value, 3) for stage, value in gflop_of(model, *size).items()}
    return {"parameters": parameters_of(model), "gflop": gflop}
