"""`apdepth-deploy triton`: what is chosen, what is written, and what is refused."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.bundle import Bundle, file_entry
from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError, BundleError, OutputError, UsageError
from apdepth_deploy.runtime.triton.choice import Wanted, choose
from apdepth_deploy.runtime.triton.repository import write_repository

Contents = Callable[[Path], dict[str, bytes]]
MakeBundle = Callable[..., Path]
WithEngines = Callable[..., Path]
Text = pytest.CaptureFixture[str]


def chosen(folder: Path, *arguments: Any, **options: Any) -> str:
    return str(choose(Bundle.open(folder), Wanted(*arguments, **options)))


# --- the choice ----------------------------------------------------------------------------------


def test_the_best_for_the_place_is_chosen(micro_bundle: Path) -> None:
    assert chosen(micro_bundle) == "onnxruntime on every GPU, fused fp16"
    assert chosen(micro_bundle, devices=("cpu",)) == "onnxruntime on cpu, fused fp32"
    assert chosen(micro_bundle, "python") == "python on cpu, fused fp32"
    assert chosen(micro_bundle, "python", devices=("cuda",)) == "python on every GPU, fused fp16"
    two = ("cuda:1", "cuda:0")
    assert chosen(micro_bundle, devices=two) == "onnxruntime on cuda:0, cuda:1, fused fp16"
    assert chosen(micro_bundle, graph="staged").endswith("staged fp16")
    assert chosen(micro_bundle, precision="fp32").endswith("fused fp32")


def test_a_standard_engine_is_chosen_where_a_gpu_may_be_used(
    micro_bundle: Path, with_engines: WithEngines
) -> None:
    folder = with_engines(micro_bundle, "tensorrt", "10.9.0", "8.6", "8.9")
    assert chosen(folder) == "tensorrt on every GPU, fused fp16"
    assert chosen(folder, devices=("cpu",)) == "onnxruntime on cpu, fused fp32"
    choice = choose(Bundle.open(folder), Wanted())
    assert [e.compute_capabilities for e in choice.engines] == [("8.6",), ("8.9",)]
    assert "TensorRT 10.9.0 on linux-x86_64" in choice.notes[0] and "8.6, 8.9" in choice.notes[0]


def test_the_newest_tensorrt_is_chosen_and_known_faults_are_told(
    micro_bundle: Path, with_engines: WithEngines
) -> None:
    folder = with_engines(micro_bundle, "tensorrt", "10.10.0", "12.0")
    choice = choose(Bundle.open(with_engines(folder, "tensorrt", "10.9.0", "12.0")), Wanted())
    assert {engine.version for engine in choice.engines} == {"10.10.0"}
    assert "wrong results: fused attention in half precision" in choice.notes[1]


def test_rtx_engines_are_not_taken_for_tensorrt(
    micro_bundle: Path, with_engines: WithEngines
) -> None:
    folder = with_engines(micro_bundle, "tensorrt-rtx", "1.7.1", "8.9")
    choice = choose(Bundle.open(folder), Wanted())
    assert choice.backend == "onnxruntime"
    assert "tensorrt-rtx engines are not served" in choice.notes[0]
    with pytest.raises(BackendError, match="only tensorrt-rtx ones, which Triton's tensorrt") as e:
        choose(Bundle.open(folder), Wanted("tensorrt"))
    assert f"build {folder} --target tensorrt`" in str(e.value)
    assert "--backend python --device cuda" in str(e.value)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("tensorflow"), "unknown backend 'tensorflow': choose one of auto, tensorrt"),
        (Wanted(precision="fp8"), "unknown precision 'fp8': choose one of fp32, fp16, bf16"),
        (Wanted(graph="split"), "unknown graph 'split': choose one of fused, staged"),
        (Wanted(devices=("tpu",)), "unknown device 'tpu'"),
        (Wanted(devices=("cpu", "cuda")), "--device cpu and cuda don't go together"),
        (Wanted(devices=("cuda", "cuda:1")), "don't go together: cuda is every GPU"),
        (Wanted(instances=0), "--instances must be at least 1, not 0"),
        (Wanted(name="../x"), "--name '../x' is not made of"),
        (Wanted("tensorrt", devices=("cpu",)), "tensorrt runs on NVIDIA GPUs, not on cpu"),
    ],
)
def test_options_that_cant_work_are_refused(
    micro_bundle: Path, tmp_path: Path, wanted: Wanted, words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        write_repository(micro_bundle, tmp_path / "out", wanted)
    assert not (tmp_path / "out").exists()


def test_what_the_bundle_lacks_is_said(micro_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"has no standard TensorRT engine .* onnxruntime$"):
        chosen(micro_bundle, "tensorrt")
    with pytest.raises(BackendError, match=r"on cpu can take fused fp32, .*, and wanted is bf16"):
        chosen(micro_bundle, precision="bf16", devices=("cpu",))


def test_random_weights_are_told(micro_bundle: Path) -> None:
    bundle = Bundle.open(micro_bundle)
    assert choose(bundle, Wanted()).notes == ()
    bundle.manifest["source"]["kind"] = "random"
    [note] = choose(bundle, Wanted()).notes
    assert note == "the weights are random: this depth means nothing"


# --- the folder ----------------------------------------------------------------------------------


def test_files_keep_their_names_and_are_copies(micro_bundle: Path, tmp_path: Path) -> None:
    write_repository(micro_bundle, tmp_path / "out", Wanted(precision="fp32"))
    version = tmp_path / "out/apdepth/1"
    assert {path.name for path in version.iterdir()} == {"fused.fp32.onnx", "fused.fp32.data"}
    for path in version.iterdir():
        original = micro_bundle / "onnx" / path.name
        assert path.read_bytes() == original.read_bytes() and path.stat().st_nlink == 1


def test_a_link_in_the_bundle_is_followed(micro_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    data = bundle / "onnx/fused.fp32.data"
    data.rename(bundle / "onnx/elsewhere")
    data.symlink_to("elsewhere")
    write_repository(bundle, tmp_path / "out", Wanted(precision="fp32"))
    written = tmp_path / "out/apdepth/1/fused.fp32.data"
    assert written.is_file() and not written.is_symlink()


def test_stages_are_models_of_their_own(micro_bundle: Path, tmp_path: Path) -> None:
    write_repository(micro_bundle, tmp_path / "out", Wanted(graph="staged", name="cam"))
    found = {
        path.name: sorted(p.name for p in (path / "1").iterdir())
        for path in (tmp_path / "out").iterdir()
    }
    assert found == {
        "cam": [".keep"],
        **{
            f"cam_{stage}": [f"{stage}.fp16.data", f"{stage}.fp16.onnx"]
            for stage in ("prior", "encoder", "unet", "decoder")
        },
    }


def test_every_gpu_gets_its_own_plan(
    micro_bundle: Path, with_engines: WithEngines, tmp_path: Path
) -> None:
    bundle = with_engines(micro_bundle, "tensorrt", "10.9.0", "8.6", "8.9")
    write_repository(bundle, tmp_path / "out", Wanted())
    plans = [f"fused.fp16.{capability}.tensorrt10.9.0.engine" for capability in ("8.6", "8.9")]
    assert sorted(p.name for p in (tmp_path / "out/apdepth/1").iterdir()) == plans
    config = (tmp_path / "out/apdepth/config.pbtxt").read_text()
    assert all(config.count(plan) == 1 + (plan == plans[0]) for plan in plans)


def test_a_damaged_file_is_refused_and_nothing_is_left(
    micro_bundle: Path, tmp_path: Path, contents: Contents
) -> None:
    bundle = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    write_repository(bundle, tmp_path / "out", Wanted(precision="fp16"))
    before = contents(tmp_path / "out")
    data = bundle / "onnx/fused.fp32.data"
    content = data.read_bytes()
    data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for backend in ("onnxruntime", "python"):
        with pytest.raises(BundleError, match=r"fused\.fp32\.data is damaged"):
            write_repository(bundle, tmp_path / "out", Wanted(backend, precision="fp32"))
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "out"]


def test_two_files_of_one_name_are_refused_and_the_bundle_stays(
    micro_bundle: Path, tmp_path: Path, contents: Contents
) -> None:
    bundle = Bundle.open(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    twin = "other/fused.fp32.onnx"
    (bundle.folder / "other").mkdir()
    bundle.path(twin).write_bytes(b"weights")
    bundle.manifest["files"][twin] = file_entry(bundle.path(twin))
    graph = next(g for g in bundle.manifest["graphs"] if g["file"] == "onnx/fused.fp32.onnx")
    graph["data"] = twin
    bundle.write_manifest()
    before = contents(bundle.folder)
    with pytest.raises(BundleError, match="two files called fused"):
        write_repository(bundle.folder, tmp_path / "out", Wanted(precision="fp32"))
    assert contents(bundle.folder) == before


def test_only_a_repository_of_ours_is_replaced(micro_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_repository(micro_bundle, out, Wanted(graph="staged"))
    write_repository(micro_bundle, out, Wanted("python", name="cam"))
    assert [path.name for path in out.iterdir()] == ["cam"]
    (out / "cam/2").mkdir()  # somebody's own version
    with pytest.raises(OutputError, match="is not something we made"):
        write_repository(micro_bundle, out, Wanted())
    (out / "cam/2").rmdir()
    (out / "other/1").mkdir(parents=True)  # somebody's own model
    (out / "other/config.pbtxt").write_text('name: "other"\n')
    with pytest.raises(OutputError, match="choose another -o"):
        write_repository(micro_bundle, out, Wanted())
    assert (out / "cam/1/bundle/manifest.json").is_file()


def test_the_command_says_what_it_wrote(micro_bundle: Path, tmp_path: Path, capsys: Text) -> None:
    out = str(tmp_path / "out")
    options = ["--backend", "python", "--instances", "2", "--name", "cam", "--graph", "staged"]
    assert main(["triton", str(micro_bundle), "-o", out, *options]) == 0
    said = capsys.readouterr()
    assert said.out == f"cam: python on cpu, staged fp32\nwrote {out}\n"
    assert "note: the server's Python must have apdepth-deploy" in said.err
    config = " ".join((tmp_path / "out/cam/config.pbtxt").read_text().split())
    assert "count: 2 kind: KIND_CPU" in config
    assert 'key: "graph" value { string_value: "staged" }' in config
    assert main(["triton", str(micro_bundle), "-o", str(micro_bundle.parent)]) == 2
    assert "is not something we made" in capsys.readouterr().err


# --- the Python model ----------------------------------------------------------------------------


class Tensor:
    """Of pb_utils, as far as the model calls it."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array = name, array

    from_dlpack = classmethod(lambda cls, name, array: cls(name, np.from_dlpack(array)))

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Response:
    def __init__(self, tensors: list[Tensor] | None = None, error: str | None = None) -> None:
        self.tensors, self.error = tensors or [], error


@pytest.fixture
def open_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], Any]:
    """(bundle) -> the model that a repository of it would run. Real ones: test_triton_server.py."""
    server = types.ModuleType("triton_python_backend_utils")
    monkeypatch.setitem(sys.modules, server.__name__, server)
    values = {
        "Tensor": Tensor,
        "InferenceResponse": Response,
        "TritonError": str,
        "TritonModelException": RuntimeError,
        "Logger": types.SimpleNamespace(log_info=print),
        "get_input_tensor_by_name": lambda request, name: Tensor(name, request[name]),
    }
    vars(server).update(values)
    monkeypatch.delitem(sys.modules, "apdepth_deploy.runtime.triton.model", raising=False)

    def start(bundle: Path) -> Any:
        write_repository(bundle, tmp_path / "repository", Wanted("python"))
        namespace: dict[str, Any] = {}
        exec((tmp_path / "repository/apdepth/1/model.py").read_text(), namespace)
        model = namespace["TritonPythonModel"]()
        model.initialize(
            {
                "model_config": '{"parameters": {"precision": {"string_value": "fp32"}}}',
                "model_instance_kind": "CPU",
                "model_instance_device_id": "0",
                "model_repository": str(tmp_path / "repository/apdepth"),
                "model_version": "1",
            }
        )
        return model

    return start


def test_requests_that_are_run_together_get_each_its_own_depth(
    mean_bundle: MakeBundle, open_model: Callable[[Path], Any]
) -> None:
    model = open_model(mean_bundle([1, 2, 4], 64, 96))
    values = ([10], [20, 30], [40])
    requests = [
        {"image": np.stack([np.full((64, 96, 3), value, np.uint8) for value in frames])}
        for frames in values
    ]
    responses = model.execute(requests)
    model.finalize()
    for frames, response in zip(values, responses, strict=True):
        [depth] = response.tensors
        assert depth.name == "depth" and depth.array.dtype == np.float32
        assert depth.array.shape == (len(frames), 64, 96)
        np.testing.assert_allclose(depth.array[:, 0, 0], np.array(frames) / 255.0, atol=1e-6)


def test_a_frame_that_the_graph_refuses_fails_in_words(
    mean_bundle: MakeBundle, open_model: Callable[[Path], Any]
) -> None:
    model = open_model(mean_bundle([1, 2, 4], 64, 96))
    [response] = model.execute([{"image": np.zeros((1, 72, 96, 3), np.uint8)}])
    assert response.tensors == [] and "OpenVINO failed on ['image']" in response.error
