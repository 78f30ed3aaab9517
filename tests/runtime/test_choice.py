"""The choice of an engine: what is asked for is what runs, or a line says why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.cli import main
from apdepth_deploy.errors import (
    ApDepthError,
    BackendError,
    BundleError,
    CheckpointError,
    UsageError,
)
from apdepth_deploy.runtime import choice
from apdepth_deploy.runtime.engines.chain import Chain
from apdepth_deploy.runtime.engines.wanted import Wanted

RunScript = Callable[..., subprocess.CompletedProcess[str]]

MakeBundle = Callable[..., Path]

FRESH = """
import sys
for name in sys.argv[2].split():
    sys.modules[name] = None
import apdepth_deploy
early = {name for name in ("numpy", "PIL", "onnxruntime", "typer", "rich") if sys.modules.get(name)}
assert not early
from apdepth_deploy import load
predictor = load(sys.argv[1])
import numpy as np
depth = predictor(np.zeros((120, 160, 3), np.uint8))
assert depth.shape == (120, 160)
heavy = {"torch", "diffusers", "transformers", "onnx", "onnx_ir", "onnxscript", "typer", "rich"}
print(sorted(heavy & set(sys.modules)), predictor.reason)
"""


@pytest.mark.parametrize(
    ("lacks", "reason"),
    [
        ("openvino", "onnxruntime on cpu, fp32, fused graph: no CUDA here"),
        (
            "onnxruntime",
            "openvino on cpu, fp32 fused graph computed in fp32: the faster one on a CPU",
        ),
        ("", "onnxruntime on cpu, fp32, fused graph: the faster start"),
    ],
)
def test_predicting_needs_neither_torch_nor_onnx(
    micro_bundle: Path, lacks: str, reason: str
) -> None:
    command = [sys.executable, "-W", "error", "-c", FRESH, str(micro_bundle), lacks]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split(";")[0].rstrip() == f"[] {reason}"
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("module", ["onnxruntime", "openvino", "torch"])
def test_an_engine_that_is_not_installed_is_named(
    micro_bundle: Path, module: str, run_script: RunScript
) -> None:
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from apdepth_deploy.cli import main\n"
        f"sys.exit(main(['infer', {str(micro_bundle)!r}, 'x', '-o', 'y', '--backend', {module!r}]))"
    )
    done = run_script(script, check=False)
    assert done.stderr.startswith(f"error: {module} is not installed: pip install 'apdepth-deploy[")
    assert (done.stderr.count("\n"), done.returncode) == (1, 2)


@pytest.mark.parametrize(
    ("options", "kind", "rule"),
    [
        ({"backend": "nope"}, UsageError, "unknown backend 'nope': choose one of auto, onnx"),
        ({"device": "npu"}, UsageError, "unknown device 'npu': choose one of auto, cpu, cuda"),
        ({"precision": "fp8"}, UsageError, "unknown precision 'fp8': choose one of fp32, fp16"),
        ({"graph": "whole"}, UsageError, "unknown graph 'whole': choose one of fused, staged"),
        ({"device": "cuda"}, BackendError, "onnxruntime finds no CUDA device .*--device cpu"),
        (
            {"backend": "onnxruntime", "precision": "bf16"},
            BackendError,
            "on cpu runs fp32, fp16, not bf16",
        ),
        ({"threads": 0}, UsageError, r"threads must be 1 to \d+ on \d+ cores?, not 0"),
        ({"threads": 10**5}, UsageError, r"threads must be 1 to \d+ on \d+ cores?, not 100000"),
        ({"threads": 10**5, "backend": "onnxruntime"}, UsageError, "threads must be 1 to"),
        ({"threads": 10**5, "backend": "openvino"}, UsageError, "threads must be 1 to"),
        ({"hint": "speed"}, UsageError, "unknown hint 'speed': choose one of latency, throughput"),
        ({"backend": "torch", "threads": 1}, UsageError, "for openvino and onnxruntime, not for"),
        ({"backend": "onnxruntime", "hint": "throughput"}, UsageError, "no throughput hint"),
        ({"backend": "torch", "precision": "fp16"}, UsageError, "torch runs in fp32, not fp16"),
        ({"backend": "openvino", "device": "cuda"}, UsageError, "runs on the CPU, not on cuda"),
        ({"backend": "torch"}, CheckpointError, "pass --checkpoint"),
        ({"backend": "torch", "checkpoint": "/nope"}, CheckpointError, "/nope"),
    ],
)
def test_what_cant_run_here_is_refused_in_a_line(
    micro_bundle: Path, options: dict[str, str], kind: type[ApDepthError], rule: str
) -> None:
    with pytest.raises(kind, match=rule) as caught:
        load(micro_bundle, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_precision_asked_for_is_the_one_that_runs(
    micro_bundle: Path, photo: NDArray[np.uint8]
) -> None:
    default, half = load(micro_bundle), load(micro_bundle, precision="fp16")
    assert (default.precision, half.precision) == ("fp32", "fp16")
    assert (default.backend, default.device) == ("onnxruntime", "cpu")
    difference = np.abs(default(photo) - half(photo))
    assert 0.0 < difference.mean() < 2e-3


def test_the_kind_of_graph_may_be_chosen(micro_bundle: Path, photo: NDArray[np.uint8]) -> None:
    fused, staged = load(micro_bundle), load(micro_bundle, graph="staged")
    assert "fused graph" in fused.reason and "staged graph" in staged.reason
    np.testing.assert_allclose(staged(photo), fused(photo), atol=1e-4)


def test_a_kind_that_was_not_exported_is_refused(mean_bundle: MakeBundle) -> None:
    with pytest.raises(BackendError, match=r"has fused fp32; .*--precision fp32 --graph staged"):
        load(mean_bundle(1, 64, 96), graph="staged")


def test_a_precision_that_was_not_exported_is_refused(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    with pytest.raises(BackendError, match=r"has fused fp32; .* needs fp16: export with .*fp16"):
        load(folder, precision="fp16")


def test_a_bundle_for_another_device_is_refused(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"fp32"', '"bf16"'))
    with pytest.raises(BackendError, match="has fused bf16; OpenVINO on cpu needs fp32 or fp16"):
        load(folder)


class Brightness(Chain):
    """Depth is the mean of a pixel's channels, without any graph."""

    backend, device, precision, graphs = "toy", "cpu", "fp32", ("fused",)
    reason = "toy on cpu, fp32: it is one"

    def __init__(self, bundle: Bundle, wanted: Wanted) -> None:
        if wanted.graph == "staged":
            raise BackendError("toy has no stages")
        self.batch, self.height, self.width = bundle.frame_extents

    def run(self, frames: Any, finished: Any = None) -> dict[str, Any]:
        if finished is not None:
            finished(self.graphs[0])
        return {"decoder": frames.mean(axis=-1, dtype=np.float32) / 255}


def test_a_new_backend_is_a_chain_and_a_line(
    mean_bundle: MakeBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As docs/architecture.md says where it goes; here the line is added from outside."""
    monkeypatch.setitem(choice.BACKENDS, "toy", Brightness)
    folder = str(mean_bundle(1, 64, 96))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    predictor = load(folder, "toy")
    assert (predictor.backend, predictor.reason) == ("toy", "toy on cpu, fp32: it is one")
    np.testing.assert_allclose(predictor(image), load(folder)(image), atol=1e-6)
    Image.fromarray(image).save(tmp_path / "photo.png")
    words = [folder, str(tmp_path / "photo.png"), "-o", str(tmp_path / "depth")]
    assert main(["infer", *words, "--backend", "toy"]) == 0
    depth = np.load(tmp_path / "depth" / "photo_depth.npy")
    np.testing.assert_array_equal(depth, predictor(image))
    capsys.readouterr()
    assert main(["profile", folder, "--backend", "toy", "--runs", "3", "--json"]) == 0
    assert '"backend": "toy"' in capsys.readouterr().out
    with pytest.raises(UsageError, match="threads and hint are for openvino and onnxruntime, not"):
        load(folder, "toy", threads=1)


def test_torch_and_onnxruntime_agree(
    micro_bundle: Path, micro_checkpoint: Path, photo: NDArray[np.uint8]
) -> None:
    torch = load(micro_bundle, "torch", checkpoint=str(micro_checkpoint))
    assert torch.reason == "torch on cpu, fp32: no CUDA here"
    assert torch.frame_size == (64, 96)
    np.testing.assert_allclose(torch(photo), load(micro_bundle)(photo), atol=1e-4, rtol=0)


def test_a_graph_that_is_no_onnx_is_refused_though_its_hash_fits(mean_bundle: MakeBundle) -> None:
    folder = mean_bundle(1, 64, 96)
    graph = "onnx/fused.fp32.onnx"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / graph).write_bytes(b"garbage")
    manifest["files"][graph] = file_entry(folder / graph)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"fused\.fp32\.onnx is no whole ONNX graph"):
        load(folder, "onnxruntime")


def test_hashes_may_be_left_unchecked(tmp_path: Path, micro_bundle: Path) -> None:
    """For a host that checks them once and loads often."""
    folder = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    path = folder / "onnx/fused.fp32.data"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="damaged"):
        load(folder)
    load(folder, check_hashes=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_path_that_is_no_utf8_is_openvinos(tmp_path: Path, mean_bundle: MakeBundle) -> None:
    folder = tmp_path / "b\udcff"
    shutil.copytree(mean_bundle(1, 64, 96), folder)
    image = np.full((64, 96, 3), 51, np.uint8)
    predictor = load(folder)
    assert predictor.backend == "openvino"
    np.testing.assert_allclose(predictor(image), 0.2, atol=1e-6)
    with pytest.raises(BackendError, match="takes no path that isn't UTF-8: move the bundle, or"):
        load(folder, "onnxruntime")


FORKED = """
import os, sys, warnings
import numpy as np
from apdepth_deploy import load
warnings.simplefilter("ignore")
predictor = load(sys.argv[1], "torch", checkpoint=sys.argv[2])
image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
expected = predictor(image)
pid = os.fork()
if pid == 0:
    os._exit(0 if np.allclose(predictor(image), expected, atol=1e-5) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_the_torch_model_runs_in_a_forked_process(
    micro_bundle: Path, micro_checkpoint: Path
) -> None:
    command = [sys.executable, "-c", FORKED, str(micro_bundle), str(micro_checkpoint)]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert done.stdout == "0\n"
