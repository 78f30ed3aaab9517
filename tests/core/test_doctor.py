"""``doctor``: what is here, what can run, what lacks. More of TensorRT's in test_tensorrt.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from apdepth_deploy.cli import main
from apdepth_deploy.commands.doctor import examine
from apdepth_deploy.runtime.engines.verdicts import Place, Verdict, keep

RunScript = Callable[..., subprocess.CompletedProcess[str]]
Text = pytest.CaptureFixture[str]


def test_doctor_json_says_what_is_here_and_what_lacks(
    capsys: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = Place("a GPU", "580.1", "11.2")
    assert not keep(Verdict("tensorrt", "fused", "fp16", place, ("0" * 64,), stage="depth"))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == examine()
    (verdict,) = found["verdicts"]
    assert "with tensorrt 11.2 on a GPU, driver 580.1: missed in stage" in verdict["in_words"]
    assert found["system"]["cores"] == len(os.sched_getaffinity(0))
    assert found["packages"]["onnxruntime"] and found["packages"]["torch"]
    abilities = {name: entry["ready"] for name, entry in found["abilities"].items()}
    assert abilities["onnxruntime on cpu"] and abilities["export"] and abilities["torch"]
    for entry in found["abilities"].values():
        assert entry["ready"] == (not entry["needs"])
    assert abilities["onnxruntime on cuda"] <= bool(found["gpus"])


def test_doctor_names_what_to_install(run_script: RunScript) -> None:
    """On a machine with nothing but the core."""
    script = (
        "import sys, importlib.metadata as metadata\n"
        "sys.modules['onnxruntime'] = None\n"
        "def version(name):\n"
        "    raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
        "from apdepth_deploy.cli import main\n"
        "sys.exit(main(['doctor']))"
    )
    done = run_script(script)
    assert "onnxruntime on cpu: needs pip install 'apdepth-deploy[onnxruntime]'" in done.stdout
    assert "export: needs torch, diffusers, transformers, onnx, onnxscript: pip" in done.stdout


def test_doctor_names_the_cuda_libraries_that_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX Runtime's CUDA build prints on a machine without CUDA (1.31.1)."""
    library = "libcublasLt.so.13"

    def preload_dlls() -> None:
        print(f"Failed to load /venv/nvidia/cu13/lib/{library}: wrong ELF class")
        print(f"Failed to load {library}: {library}: cannot open shared object file")
        print("Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.")

    module = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=preload_dlls,
        disable_telemetry_events=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    needs = examine()["abilities"]["onnxruntime on cuda"]["needs"]
    assert needs[-1].startswith(library) and needs[-1].endswith("pip install 'apdepth-deploy[gpu]'")
