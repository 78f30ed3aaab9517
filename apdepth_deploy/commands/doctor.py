"""``apdepth-deploy doctor``."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import platform
from typing import Annotated, Any

import typer

from apdepth_deploy.bundle import version
from apdepth_deploy.console import table
from apdepth_deploy.errors import BackendError
from apdepth_deploy.machine.devices import missing_cuda_libraries, nvidia_gpus, usable_cores
from apdepth_deploy.machine.telemetry import import_onnxruntime
from apdepth_deploy.machine.tensorrt import (
    TARGETS,
    installed,
    known_bad,
    load_tensorrt,
    rtx_capabilities,
)

app = typer.Typer(add_completion=False)

_PACKAGES = (
    "apdepth-deploy",
    "numpy",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "diffusers",
    "transformers",
    "onnx",
    "onnxscript",
    "polygraphy",
    "tensorrt-rtx-cu12",
    "tensorrt",
    "cuda-core",
    "cuda-bindings",
    "nvidia-ml-py",
    "av",
    "rerun-sdk",
    "fastapi",
    "uvicorn",
)
_EXPORT_PACKAGES = ("torch", "diffusers", "transformers", "onnx", "onnxscript")

_NOTHING_VERIFIED = "verified: nothing yet on this machine: `verify BUNDLE --backend NAME`"


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show versions, devices, what can run here, and what each thing still needs."""
    found = examine()
    print(json.dumps(found, indent=1) if as_json else "\n".join(_describe(found)))


def examine() -> dict[str, Any]:
    """{"system", "packages", "gpus", "verdicts", "warnings", "abilities"}; an ability is
    {"ready", "needs"}."""
    packages = {name: version(name) for name in _PACKAGES}
    providers = _ort_providers()
    gpus = nvidia_gpus()
    return {
        "system": {
            "os": platform.platform(),
            "python": platform.python_version(),
            "cores": usable_cores(),
        },
        "packages": packages,
        "gpus": gpus,
        "verdicts": _verdicts(),
        "warnings": _reports(gpus),
        "abilities": {
            "export": _export_ability(packages),
            "onnxruntime on cpu": _ability(
                [] if providers else ["pip install 'apdepth-deploy[onnxruntime]'"]
            ),
            "openvino on cpu": _ability(_needs_module("openvino", "openvino")),
            "onnxruntime on cuda": _ability(_cuda_needs(providers, gpus)),
            "torch": _export_ability(packages),
            **_tensorrt_abilities(gpus),
            "videos and cameras": _ability(_needs_module("av", "video")),
            "rerun": _ability(_needs_module("rerun", "rerun")),
            "serve": _ability(_needs_module("fastapi", "serve")),
        },
    }


def _verdicts() -> list[dict[str, Any]]:
    """What `verify --backend` and `build` found on this machine, as it is kept."""
    from apdepth_deploy.runtime.engines.verdicts import all_kept

    return [
        {**dataclasses.asdict(one), "files": list(one.files), "in_words": str(one)}
        for one in all_kept()
    ]


def _ability(needs: list[str]) -> dict[str, Any]:
    return {"ready": not needs, "needs": needs}


def _export_ability(packages: dict[str, str | None]) -> dict[str, Any]:
    missing = [name for name in _EXPORT_PACKAGES if packages[name] is None]
    hint = f"{', '.join(missing)}: pip install 'apdepth-deploy[export]'"
    return _ability([hint] if missing else [])


def _gpu_needs(gpus: list[dict[str, Any]]) -> list[str]:
    return [] if gpus else ["an NVIDIA GPU with its driver (libcuda.so.1 finds none)"]


def _cuda_needs(providers: list[str], gpus: list[dict[str, Any]]) -> list[str]:
    needs = _gpu_needs(gpus)
    if "CUDAExecutionProvider" not in providers:
        needs.append("onnxruntime-gpu: pip install 'apdepth-deploy[gpu]'")
    elif missing := missing_cuda_libraries(import_onnxruntime()):
        needs.append(f"{', '.join(missing)}: pip install 'apdepth-deploy[gpu]'")
    return needs


def _tensorrt_abilities(gpus: list[dict[str, Any]]) -> dict[str, Any]:
    """For each target, whether engines can be built here and run here."""
    here = tuple(gpu["compute_capability"] for gpu in gpus)
    no_gpu = _gpu_needs(gpus)
    abilities = {}
    for target, (_, extra, _) in TARGETS.items():
        needs = _tensorrt_needs(target, extra)
        gpu_to_build = no_gpu if target == "tensorrt" else []  # it tunes on the GPU itself
        onnx = _needs_module("onnx", "export")
        abilities[f"build for {target}"] = _ability(needs + onnx + gpu_to_build)
        unfit = _unfit(here) if target == "tensorrt-rtx" and not needs else []
        cuda = _needs_module("cuda.bindings", extra)
        abilities[f"run {target}"] = _ability(needs + cuda + no_gpu + unfit)
    return abilities


def _reports(gpus: list[dict[str, Any]]) -> list[str]:
    """What is known of the TensorRT here, on the GPUs here."""
    here = tuple(gpu["compute_capability"] for gpu in gpus)
    usable = [
        target for target, (_, extra, _) in TARGETS.items() if not _tensorrt_needs(target, extra)
    ]
    found = [known_bad(target, load_tensorrt(target).__version__, here) for target in usable]
    return [report for report in found if report is not None]


def _tensorrt_needs(target: str, extra: str) -> list[str]:
    """What lacks before this TensorRT can be used at all."""
    if not installed(target):
        return [f"pip install 'apdepth-deploy[{extra}]'"]
    try:
        load_tensorrt(target)
    except BackendError as error:
        return [str(error)]
    return []


def _unfit(here: tuple[str, ...]) -> list[str]:
    """TensorRT for RTX doesn't run on every GPU."""
    known = rtx_capabilities(load_tensorrt("tensorrt-rtx"))
    if not here or set(here) & set(known):
        return []
    return [f"a GPU of compute capability {', '.join(known)} (here: {', '.join(here)})"]


def _needs_module(module: str, extra: str) -> list[str]:
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is not there
        found = False
    return [] if found else [f"{module}: pip install 'apdepth-deploy[{extra}]'"]


def _ort_providers() -> list[str]:
    try:
        onnxruntime = import_onnxruntime()
    except ImportError:
        return []
    return list(onnxruntime.get_available_providers())


def _describe(found: dict[str, Any]) -> list[str]:
    system = found["system"]
    gpus = [
        f"{gpu['name']} (compute capability {gpu['compute_capability']})" for gpu in found["gpus"]
    ]
    packages = [[name, value or "not installed"] for name, value in found["packages"].items()]
    abilities = [
        [name, "ready" if entry["ready"] else "needs " + "; ".join(entry["needs"])]
        for name, entry in found["abilities"].items()
    ]
    return [
        f"{system['os']}, Python {system['python']}, {system['cores']} cores",
        f"NVIDIA GPUs: {', '.join(gpus) or 'none'}",
        "",
        table(["package", "version"], packages),
        "",
        *[f"{name}: {state}" for name, state in abilities],
        "",
        *[f"warning: {line}" for line in found["warnings"]],
        *([f"verified: {one['in_words']}" for one in found["verdicts"]] or [_NOTHING_VERIFIED]),
    ]
