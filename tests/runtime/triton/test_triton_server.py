"""Repositories in a real tritonserver, without a GPU: what it says of them, and their depth."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.runtime.triton.choice import Wanted
from apdepth_deploy.runtime.triton.repository import write_repository

MakeBundle = Callable[..., Path]
Serve = Callable[..., Any]

CLIENT = Path(__file__).parents[3] / "runtime/triton/examples/client.py"
FRAME = (64, 96)
STAGES = ("prior", "encoder", "unet", "decoder")
#: What docs/triton.md tells to scale by.
DOCUMENTED_METRICS = (
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_request_success",
    "nv_inference_pending_request_count",
    "nv_inference_count",
    "nv_inference_exec_count",
)


@pytest.fixture
def frame_file(photo: NDArray[np.uint8], tmp_path: Path) -> Path:
    """A picture of the graph's own size: nothing is resized on either side."""
    Image.fromarray(photo[: FRAME[0], : FRAME[1]]).save(tmp_path / "frame.png")
    return tmp_path / "frame.png"


def ask(folder: Path, server: Any, picture: Path, *options: str) -> NDArray[np.float32]:
    """Depth by the example client, as a user runs it."""
    protocol = "grpc" if "grpc" in options else "http"
    output = picture.with_suffix(".npy")
    command = [folder / "bin/python", CLIENT, picture, "-o", output]
    url = f"localhost:{server.ports[protocol]}"
    done = subprocess.run(
        [*command, "--url", url, *options], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{done.stderr}\n{server.log[-4000:]}"
    depth: NDArray[np.float32] = np.load(output)
    output.unlink()
    return depth


def test_a_bundle_is_served_as_the_predictor_sees_it(
    micro_bundle: Path,
    mean_bundle: MakeBundle,
    triton_folder: Path,
    serve: Serve,
    frame_file: Path,
    tmp_path: Path,
) -> None:
    """The Python form by every way in; a batch range; ONNX Runtime's form, fused and staged."""
    ranged = mean_bundle([1, 2, 4], [64, 72, 128], 96)
    forms = {
        "apdepth": (micro_bundle, Wanted("python", "fp32")),
        "ranged": (ranged, Wanted("python", name="ranged", instances=2)),
        "onnx": (micro_bundle, Wanted("onnxruntime", devices=("cpu",), name="onnx")),
        "staged": (
            micro_bundle,
            Wanted("onnxruntime", "fp16", "staged", devices=("cpu",), name="staged"),
        ),
    }
    for name, (bundle, wanted) in forms.items():
        write_repository(bundle, tmp_path / name, wanted)
    frame = np.asarray(Image.open(frame_file))
    expected = {
        name: load(
            bundle,
            "openvino" if wanted.backend == "python" else "onnxruntime",
            precision=wanted.precision,
        )(frame)
        for name, (bundle, wanted) in forms.items()
    }
    with serve(*(tmp_path / name for name in forms), backends=("onnxruntime",)) as server:
        models = server.models()
        assert models == dict.fromkeys([*forms, *(f"staged_{stage}" for stage in STAGES)], "")
        for options in ((), ("--protocol", "grpc")):
            for shared in ((), ("--shared-memory",)):
                depth = ask(triton_folder, server, frame_file, *options, *shared)
                np.testing.assert_array_equal(depth, expected["apdepth"])
        for name, tolerance in (("ranged", 0.0), ("onnx", 1e-5), ("staged", 5e-3)):
            depth = ask(triton_folder, server, frame_file, "--model", name)
            np.testing.assert_allclose(depth, expected[name], rtol=0.0, atol=tolerance)
        metrics = server.get("/metrics")
        for name in DOCUMENTED_METRICS:
            assert f'{name}{{model="apdepth",version="1"}}' in metrics, name
    assert server.process.returncode == 0


def test_a_real_server_reads_every_configuration(
    micro_bundle: Path,
    mean_bundle: MakeBundle,
    with_engines: Callable[..., Path],
    serve: Serve,
    tmp_path: Path,
) -> None:
    """Where it lacks a backend it says just that; a faulty configuration it calls faulty."""
    engines = with_engines(mean_bundle([1, 2, 4], 64, 96), "tensorrt", "10.9.0", "8.6", "8.9")
    forms = {
        "onnx": (micro_bundle, Wanted("onnxruntime", devices=("cpu",))),
        "gpus": (micro_bundle, Wanted("onnxruntime", devices=("cuda:0", "cuda:1"))),
        "plan": (engines, Wanted("tensorrt")),
        "typo": (engines, Wanted("tensorrt")),
        "faulty": (engines, Wanted("tensorrt")),
        "damaged": (micro_bundle, Wanted("python")),
    }
    for name, (bundle, wanted) in forms.items():
        write_repository(bundle, tmp_path / name, dataclasses.replace(wanted, name=name))
    replace(tmp_path / "typo/typo/config.pbtxt", "max_batch_size: 4", "max_batchsize: 4")
    replace(tmp_path / "faulty/faulty/config.pbtxt", "max_batch_size: 4", "max_batch_size: 1")
    damage(tmp_path / "damaged/damaged/1/bundle/onnx/fused.fp32.onnx")
    with serve(*(tmp_path / name for name in forms)) as server:
        models = server.models()
        log = server.log
    for name, backend in {"onnx": "onnxruntime", "gpus": "onnxruntime", "plan": "tensorrt"}.items():
        assert f"unable to find backend library for backend '{backend}'" in models[name]
    assert "fused.fp32.onnx is damaged: its SHA-256 is not the manifest's" in models["damaged"]
    refused = re.findall(r"Poll failed for model directory '(\w+)': (.*)", log)
    assert sorted(name for name, _ in refused) == ["faulty", "typo"]
    assert "preferred size must be <= max batch size" in dict(refused)["faulty"]
    assert 'no field named "max_batchsize"' in log


def test_a_real_server_runs_a_plan_s_configuration(
    mean_bundle: MakeBundle, with_engines: Callable[..., Path], serve: Serve, tmp_path: Path
) -> None:
    """On the CPU, with a backend that gives zeros: what Triton itself makes of the rest."""
    engines = with_engines(mean_bundle([1, 2, 4], [64, 72, 128], 96), "tensorrt", "10.9.0", "8.6")
    write_repository(engines, tmp_path / "plan", Wanted("tensorrt", name="plan"))
    replace(tmp_path / "plan/plan/config.pbtxt", "KIND_GPU", "KIND_CPU")
    with serve(tmp_path / "plan", backends=("tensorrt",)) as server:
        assert server.models() == {"plan": ""}, server.log
        config = server.get("/v2/models/plan/config")
        statistics = server.get("/v2/models/plan/stats")["model_stats"][0]
    assert config["max_batch_size"] == 4
    assert [(t["name"], t["data_type"], t["dims"]) for t in config["input"] + config["output"]] == [
        ("image", "TYPE_UINT8", [-1, 96, 3]),
        ("depth", "TYPE_FP32", [-1, 96]),
    ]
    assert config["dynamic_batching"]["preferred_batch_size"] == [2, 4]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0
    assert config["optimization"]["cuda"]["graphs"] is True
    assert config["cc_model_filenames"] == {"8.6": config["default_model_filename"]}
    batches = {batch["batch_size"] for batch in statistics["batch_stats"]}
    assert batches == {1, 2, 4}  # the warm-up's


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
