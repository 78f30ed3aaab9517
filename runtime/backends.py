"""Which engine runs a bundle: the choice, and why, in words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from apdepth_deploy.bundle import PRECISIONS, Bundle
from apdepth_deploy.devices import nvidia_gpus
from apdepth_deploy.errors import BackendError, UsageError

from .chain import Chain
from .predictor import Predictor

BACKENDS = ("auto", "onnxruntime", "torch")
DEVICES = ("auto", "cpu", "cuda")

#: Which precision each kind of device runs best, best first.
_PREFERRED = {"cpu": ("fp32", "fp16"), "cuda": ("fp16", "bf16", "fp32")}


def load(
    bundle: str | Path,
    backend: str = "auto",
    *,
    precision: str | None = None,
    device: str = "auto",
    checkpoint: str | None = None,
    check_hashes: bool = True,
) -> Predictor:
    """Open a bundle for prediction.

    Args:
        bundle: the folder that ``export`` wrote.
        backend: "auto" (ONNX Runtime), "onnxruntime" or "torch".
        precision: "fp32", "fp16" or "bf16"; by default what the device runs best.
        device: "auto" (CUDA where ONNX Runtime has it), "cpu" or "cuda".
        checkpoint: for backend "torch", the weights, where not those named in the manifest.
        check_hashes: compare the SHA-256 of every file that is used.

    Raises:
        BundleError: not a bundle, or a damaged one. BackendError: the backend can't run it here.
        UsageError: an unknown backend, device or precision.
    """
    opened = Bundle.open(bundle)
    _check_names(backend, device, precision)
    chosen = "onnxruntime" if backend == "auto" else backend
    place, why = _device(chosen, device)
    if chosen == "torch":
        return _load_torch(opened, place, why, checkpoint)
    kind, chosen_precision = _choose(opened.chains, place, precision)
    graphs = opened.chain_graphs(kind, chosen_precision)
    if check_hashes:
        for graph in graphs:
            opened.check_hash(graph.file)
            opened.check_hash(graph.data)
    from .onnxruntime_backend import OrtChain

    reason = f"{chosen} on {place}, {chosen_precision}, {kind} graph: {why}"
    chain = OrtChain(opened, graphs, place)
    return Predictor(chain, chosen_precision, reason, opened.spec.latent_stride)


def _load_torch(bundle: Bundle, place: str, why: str, checkpoint: str | None) -> Predictor:
    """The PyTorch model takes the frames that the bundle's graphs take."""
    from .torch_backend import TorchChain

    chain = TorchChain(bundle, place, checkpoint)
    return Predictor(chain, "fp32", f"torch on {place}, fp32: {why}", bundle.spec.latent_stride)


def open_chain(bundle: Bundle, kind: str, precision: str, *, probe: bool = False) -> Chain:
    """One chain on ONNX Runtime's CPU; ``probe`` also gives the stages inside a fused graph."""
    _require("onnxruntime")
    from .onnxruntime_backend import OrtChain

    return OrtChain(bundle, bundle.chain_graphs(kind, precision), "cpu", probe)


def _check_names(backend: str, device: str, precision: str | None) -> None:
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if backend == "torch" and precision not in (None, "fp32"):
        raise UsageError(f"backend torch runs in fp32, not {precision}: use backend onnxruntime")


def _device(backend: str, device: str) -> tuple[str, str]:
    """(device, why)."""
    _require("onnxruntime" if backend == "onnxruntime" else "torch")
    has_cuda = _ort_has_cuda() if backend == "onnxruntime" else _torch_has_cuda()
    if device == "cuda" and not has_cuda:
        raise BackendError(
            f"{backend} finds no CUDA device here: use --device cpu, or install "
            + ("'apdepth-deploy[gpu]'" if backend == "onnxruntime" else "a CUDA build of torch")
        )
    if device == "auto":
        return ("cuda", "CUDA is there") if has_cuda else ("cpu", "no CUDA here")
    return device, "as asked"


def _choose(chains: list[tuple[str, str]], place: str, precision: str | None) -> tuple[str, str]:
    """(kind, precision) of the chain to run: the device's favourite, fused before staged."""
    runs = _PREFERRED[place]
    wanted = runs if precision is None else (precision,)
    for choice in wanted:
        for kind in ("fused", "staged"):
            if (kind, choice) in chains and choice in runs:
                return kind, choice
    there = ", ".join(f"{kind} {p}" for kind, p in chains) or "no graphs"
    if precision is not None and precision not in runs:
        raise BackendError(f"ONNX Runtime on {place} runs {', '.join(runs)}, not {precision}")
    raise BackendError(
        f"the bundle has {there}; ONNX Runtime on {place} needs {' or '.join(wanted)}: "
        f"export with --precision {wanted[0]}"
    )


def _require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        extra = {"onnxruntime": "onnxruntime", "torch": "export"}[module]
        raise BackendError(f"{module} is not installed: pip install 'apdepth-deploy[{extra}]'")


def _ort_has_cuda() -> bool:
    import onnxruntime

    built = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return built and bool(nvidia_gpus())


def _torch_has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
