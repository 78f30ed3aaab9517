"""Which engine runs a bundle, and why: one answer, once."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path

from apdepth_deploy.bundle import KINDS, PRECISIONS, Bundle
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.machine.devices import nvidia_gpus, usable_cores
from apdepth_deploy.machine.tensorrt import TARGETS

from .engines.chain import Chain
from .engines.onnxruntime_backend import has_cuda, open_onnxruntime
from .engines.openvino_backend import open_openvino, open_openvino_relayed
from .engines.tensorrt.backend import open_tensorrt
from .engines.tensorrt.choice import UnfitError
from .engines.torch_backend import open_torch
from .engines.wanted import Wanted, is_installed
from .predictor import Predictor

#: How each backend opens a bundle: BackendError where it can't run it here.
BACKENDS: dict[str, Callable[[Bundle, Wanted], Chain]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "torch": open_torch,
    **{target: functools.partial(open_tensorrt, target) for target in TARGETS},
}
#: Those that take ``threads`` and ``hint``.
_TUNED = ("openvino", "onnxruntime")
DEVICES = ("auto", "cpu", "cuda", "cuda:N")
HINTS = ("latency", "throughput")
#: The most that ``threads`` may be, for each core that this process may use.
THREADS_PER_CORE = 4


def load(
    bundle: str | Path,
    backend: str = "auto",
    *,
    precision: str | None = None,
    graph: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    hint: str = "latency",
    checkpoint: str | None = None,
    check_hashes: bool = True,
) -> Predictor:
    """Open a bundle for prediction.

    Args:
        bundle: the folder that ``export`` wrote.
        backend: "onnxruntime", "openvino", "tensorrt-rtx", "tensorrt", "torch", or "auto": the
            first that can run of a TensorRT engine in the bundle, ONNX Runtime on CUDA, OpenVINO,
            ONNX Runtime on the CPU. Before OpenVINO in fp32 stands ONNX Runtime for some frames,
            for it starts sooner: depth differs by rounding alone (``Predictor.settle``).
        precision: "fp32", "fp16" or "bf16"; by default what the device runs best. With OpenVINO
            "bf16" is the arithmetic, on processors that have it, of a graph of any precision.
        graph: "fused" or "staged"; by default the fused one where there is one.
        device: "auto" (CUDA where the backend has it), "cpu", "cuda", or "cuda:1" and so on for
            TensorRT and torch.
        threads: CPU threads for OpenVINO or ONNX Runtime; by default as many as there are cores,
            and at most ``THREADS_PER_CORE`` for each.
        hint: what OpenVINO tunes for: "latency" of one frame, or "throughput" of frames that
            several threads ask for at the same time.
        checkpoint: for backend "torch", the weights, where not those named in the manifest.
        check_hashes: compare the SHA-256 of every file that is used.

    Raises:
        BundleError: not a bundle, or a damaged one. BackendError: the backend can't run it here.
        UsageError: an unknown backend, device, precision, kind of graph or hint, an option that
        the backend doesn't have, or too many threads.
    """
    opened = Bundle.open(bundle)
    wanted = Wanted(precision, graph, device, threads, hint, checkpoint, check_hashes)
    check_names(backend, wanted)
    chain, passed_over = choose(opened, backend, wanted)
    again = functools.partial(load, Path(bundle).absolute(), backend, **dataclasses.asdict(wanted))
    return Predictor(chain, opened.spec.latent_stride, passed_over, again)


def choose(bundle: Bundle, backend: str, wanted: Wanted) -> tuple[Chain, str]:
    """(the engine, opened, with its reason; what else was passed over and why, or "")."""
    if backend != "auto":
        return BACKENDS[backend](bundle, wanted), ""
    passed_over = ""
    if wanted.device != "cpu":
        built = {engine.target for engine in bundle.engines}
        for target in (target for target in TARGETS if target in built):
            try:
                return open_tensorrt(target, bundle, wanted, trusting=False), ""
            except BackendError as error:
                why = error.why if isinstance(error, UnfitError) else str(error)
                passed_over += f"; not {target}: {why}"
        if not built and nvidia_gpus():
            passed_over = "; no TensorRT engine is built"
    on_host = open_openvino_relayed if _prefers_openvino(wanted) else BACKENDS["onnxruntime"]
    try:
        return on_host(bundle, wanted), passed_over
    except BackendError as error:
        raise (BackendError(f"{error}{passed_over}") if passed_over else error) from error


def _prefers_openvino(wanted: Wanted) -> bool:
    """Where nothing runs on CUDA and OpenVINO is installed (docs/performance.md: the figures)."""
    if wanted.device == "auto":
        on_cpu = not (is_installed("onnxruntime") and has_cuda())
    else:
        on_cpu = wanted.device == "cpu"
    return on_cpu and is_installed("openvino")


def check_names(backend: str, wanted: Wanted) -> None:
    """Raises UsageError for words that ``load`` doesn't know."""
    device, precision = wanted.device, wanted.precision
    if backend not in ("auto", *BACKENDS):
        known = ", ".join(("auto", *BACKENDS))
        raise UsageError(f"unknown backend {backend!r}: choose one of {known}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if wanted.graph not in (None, *KINDS):
        raise UsageError(f"unknown graph {wanted.graph!r}: choose one of {', '.join(KINDS)}")
    if wanted.hint not in HINTS:
        raise UsageError(f"unknown hint {wanted.hint!r}: choose one of {', '.join(HINTS)}")
    _check_threads(wanted.threads)
    tuned = (wanted.threads, wanted.hint) != (None, "latency")
    if tuned and backend not in ("auto", *_TUNED):
        raise UsageError(f"threads and hint are for openvino and onnxruntime, not for {backend}")


def _check_threads(threads: int | None) -> None:
    """More than this gain nothing, and thousands stop a machine."""
    cores = usable_cores()
    if threads is not None and not 1 <= threads <= THREADS_PER_CORE * cores:
        raise UsageError(
            f"threads must be 1 to {THREADS_PER_CORE * cores} on {cores} cores, not {threads}"
        )
