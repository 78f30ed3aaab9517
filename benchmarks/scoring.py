"""What the benchmarks of quality share: a way to depth, scored on rendered scenes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from apdepth_deploy.training.data.eval_sets import EvalSet
from apdepth_deploy.training.data.synthetic import SyntheticDataset
from apdepth_deploy.training.evaluation.protocol import score

#: uint8 [1,H,W,3] -> depth [H,W].
Way = Callable[[np.ndarray], np.ndarray]


def quality(way: Way, test: SyntheticDataset) -> dict[str, float]:
    """AbsRel and delta1 after alignment, means over all frames."""
    rules = EvalSet(test, 1e-3, math.inf)
    samples = [test[index] for index in range(len(test))]
    scores = [score(way(sample.image[None]), sample, rules) for sample in samples]
    return {
        "abs_rel": float(np.mean([one.abs_rel for one in scores])),
        "delta1": float(np.mean([one.delta1 for one in scores])),
    }
