"""Full-size networks with random weights: `make test-full`. Some ten minutes and 8 GB."""

from __future__ import annotations

import os
import subprocess
import sys

import onnx
import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.export import export_bundle
from apdepth_deploy.spec import ModelSource
from apdepth_deploy.verify import records_of

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


def test_small_fp16_exports_within_8_gb_and_equals_pytorch(tmp_path):
    folder = tmp_path / "bundle"
    command = [sys.executable, "-m", "apdepth_deploy", "export", "small", "--random-weights"]
    process = subprocess.Popen([*command, "-o", str(folder)])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    assert usage.ru_maxrss * 1024 < 8e9
    bundle = Bundle.open(folder)
    assert sorted(p.suffix for p in (folder / "onnx").iterdir()) == [".data", ".onnx"]
    onnx.checker.check_model(str(folder / bundle.graphs[0].file))
    depth = [r for r in records_of(bundle.manifest) if r.stage == "decoder"]
    assert depth and all(r.mean_abs <= 2e-3 and r.bad == 0 for r in depth)


def test_small_fp32_folded_is_within_1e_4_of_pytorch_unfolded(tmp_path):
    bundle = export_bundle(ModelSource("small", seed=0), tmp_path / "bundle", precisions=("fp32",))
    assert bundle.manifest["folding"]["applied"] and not bundle.manifest["folding"]["skipped"]
    depth = [r for r in records_of(bundle.manifest) if r.stage == "decoder"]
    assert depth and all(r.max_abs <= 1e-4 for r in depth)


def test_folding_takes_15_percent_of_smalls_nodes(tmp_path):
    source, nodes = ModelSource("small", seed=0), {}
    for folding in (True, False):
        bundle = export_bundle(source, tmp_path / "bundle", folding=folding, verify=False)
        nodes[folding] = bundle.graphs[0].nodes
    assert nodes[True] <= 0.85 * nodes[False]
