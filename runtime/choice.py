"""Which engine runs a bundle: the choice, and why, in words."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path

from apdepth_deploy.bundle import KINDS, PRECISIONS, Bundle, Graph
from apdepth_deploy.devices import nvidia_gpus, usable_cores
from apdepth_deploy.errors import BackendError, UsageError
from apdepth_deploy.onnx_file import check_weights
from apdepth_deploy.telemetry import import_onnxruntime
from apdepth_deploy.tensorrt import TARGETS

from .engines.chain import Chain
from .engines.tensorrt.choice import UnfitError, check_hashes, choose_engines
from .predictor import Predictor

BACKENDS = ("auto", "onnxruntime", "openvino", "torch", *TARGETS)
DEVICES = ("auto", "cpu", "cuda", "cuda:N")
HINTS = ("latency", "throughput")
#: The most that ``threads`` may be, for each core that this process may use.
THREADS_PER_CORE = 4

#: Which precision each kind of device runs best, best first.
PREFERRED = {"cpu": ("fp32", "fp16"), "cuda": ("fp16", "bf16", "fp32")}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a caller of ``load`` asked for; None = whatever suits."""

    precision: str | None
    graph: str | None
    device: str
    threads: int | None
    hint: str
    check_hashes: bool


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
    wanted = Wanted(precision, graph, device, threads, hint, check_hashes)
    _check_names(backend, wanted)
    predictor = _load(opened, backend, wanted, checkpoint)
    asked = {**dataclasses.asdict(wanted), "checkpoint": checkpoint}
    predictor.reopen = functools.partial(load, Path(bundle).absolute(), backend, **asked)
    return predictor


def _load(opened: Bundle, backend: str, wanted: Wanted, checkpoint: str | None) -> Predictor:
    if backend == "torch":
        return _load_torch(opened, wanted.device, checkpoint)
    if backend == "openvino":
        return _load_openvino(opened, wanted, "as asked")
    if backend in TARGETS:
        return _load_engines(opened, backend, wanted)
    passed_over = []
    for target in TARGETS if backend == "auto" and wanted.device != "cpu" else ():
        try:
            return _load_engines(opened, target, wanted)
        except BackendError as error:
            passed_over.append((target, error))
    skipped = _skipped(opened, passed_over)
    try:
        if backend == "auto" and _prefers_openvino(wanted):
            return _load_openvino(opened, wanted, "the faster one on a CPU", skipped, relayed=True)
        return _load_onnxruntime(opened, wanted, skipped)
    except BackendError as error:
        raise (BackendError(f"{error}{skipped}") if skipped else error) from error


def _prefers_openvino(wanted: Wanted) -> bool:
    """Where nothing runs on CUDA and OpenVINO is installed (docs/performance.md: the figures)."""
    if wanted.device == "auto":
        on_cpu = not (_is_installed("onnxruntime") and _ort_has_cuda())
    else:
        on_cpu = wanted.device == "cpu"
    return on_cpu and _is_installed("openvino")


def _skipped(bundle: Bundle, passed_over: list[tuple[str, BackendError]]) -> str:
    """Why TensorRT was passed over, where it could be expected to run."""
    built = {engine.target for engine in bundle.engines}
    if not built and passed_over and nvidia_gpus():
        return "; no TensorRT engine is built"
    reasons = {
        target: error.why if isinstance(error, UnfitError) else str(error)
        for target, error in passed_over
        if target in built
    }
    return "".join(f"; not {target}: {why}" for target, why in reasons.items())


def _load_engines(bundle: Bundle, target: str, wanted: Wanted) -> Predictor:
    if wanted.device == "cpu":
        raise UsageError(f"{target} runs on NVIDIA GPUs, not on cpu: use --backend onnxruntime")
    choice = choose_engines(bundle, target, wanted.precision, wanted.graph, _ordinal(wanted.device))
    if wanted.check_hashes:
        choice = check_hashes(bundle, choice)
    from .engines.tensorrt.backend import TrtChain

    chain = TrtChain(bundle, choice)
    chain.reason = (
        f"{target} on {chain.device}, {choice.precision}, {choice.kind} engine: "
        f"built for {choice.gpu['name']} ({choice.gpu['compute_capability']})"
    )
    return Predictor(chain, choice.precision, bundle.spec.latent_stride)


def _load_onnxruntime(bundle: Bundle, wanted: Wanted, skipped: str) -> Predictor:
    if wanted.hint != "latency":
        raise UsageError("onnxruntime has no throughput hint: use --backend openvino")
    place, why = _device("onnxruntime", wanted.device)
    kind, chosen = _choose(bundle.chains, f"ONNX Runtime on {place}", PREFERRED[place], wanted)
    graphs = _graphs(bundle, kind, chosen, wanted)
    chain = _ort_chain(bundle, graphs, place, wanted)
    chain.reason = f"onnxruntime on {place}, {chosen}, {kind} graph: {why}{skipped}"
    return Predictor(chain, chosen, bundle.spec.latent_stride)


def _ort_chain(bundle: Bundle, graphs: tuple[Graph, ...], place: str, wanted: Wanted) -> Chain:
    from .engines.onnxruntime_backend import OrtChain

    return OrtChain(bundle, graphs, place, threads=wanted.threads)


def _load_openvino(
    bundle: Bundle, wanted: Wanted, why: str, skipped: str = "", relayed: bool = False
) -> Predictor:
    """bfloat16 only where it is asked for: it is no graph's precision but the processor's.

    ``relayed``: ONNX Runtime may have the first frames.
    """
    if wanted.device not in ("auto", "cpu"):
        raise UsageError(f"openvino runs on the CPU, not on {wanted.device}")
    _require("openvino")
    from .engines.openvino_backend import OvChain, has_bf16, settings_for
    from .engines.openvino_compile import Job, openvino_folder
    from .engines.relay import PATIENCE, Relay, can_relay

    arithmetic = "bf16" if wanted.precision == "bf16" else "fp32"
    if arithmetic == "bf16":
        if not has_bf16():
            raise BackendError("this processor has no bfloat16: use --precision fp32")
        wanted = dataclasses.replace(wanted, precision=None)
    kind, chosen = _choose(bundle.chains, "OpenVINO on cpu", PREFERRED["cpu"], wanted)
    graphs = _graphs(bundle, kind, chosen, wanted)
    settings = settings_for(arithmetic, wanted.threads, wanted.hint)
    jobs = tuple(Job.of(bundle, graph, settings, wanted.check_hashes) for graph in graphs)
    precision = "bf16" if arithmetic == "bf16" else chosen

    reason = f"openvino on cpu, {chosen} {kind} graph computed in {arithmetic}: {why}{skipped}"
    chain: Chain
    if relayed and precision == "fp32" and wanted.hint == "latency" and can_relay(bundle, graphs):
        chain = _ort_chain(bundle, graphs, "cpu", wanted)
        chain.reason = (
            f"onnxruntime on cpu, {chosen}, {kind} graph: the faster start; openvino takes over "
            f"after some {PATIENCE} frames{skipped}"
        )
        chain = Relay(chain, jobs, functools.partial(OvChain, graphs, jobs, reason))
    else:
        chain = OvChain(graphs, jobs, reason, openvino_folder())
    return Predictor(chain, precision, bundle.spec.latent_stride)


def _graphs(bundle: Bundle, kind: str, precision: str, wanted: Wanted) -> tuple[Graph, ...]:
    """The graphs of a chain, their files compared with the manifest. Raises BundleError."""
    graphs = bundle.chain_graphs(kind, precision)
    if wanted.check_hashes:
        for graph in graphs:
            bundle.check_hash(graph.file)
            bundle.check_hash(graph.data)
    for graph in graphs:
        check_weights(bundle.path(graph.file), bundle.path(graph.data))
    return graphs


def _load_torch(bundle: Bundle, device: str, checkpoint: str | None) -> Predictor:
    """The PyTorch model takes the frames that the bundle's graphs take."""
    place, why = _device("torch", device)
    from .engines.torch_backend import TorchChain

    chain = TorchChain(bundle, place, checkpoint)
    chain.reason = f"torch on {place}, fp32: {why}"
    return Predictor(chain, "fp32", bundle.spec.latent_stride)


def open_chain(bundle: Bundle, kind: str, precision: str, *, probe: bool = False) -> Chain:
    """One chain on ONNX Runtime's CPU; ``probe`` also gives the stages inside a fused graph."""
    _require("onnxruntime")
    from .engines.onnxruntime_backend import OrtChain

    return OrtChain(bundle, bundle.chain_graphs(kind, precision), "cpu", probe=probe)


def _check_names(backend: str, wanted: Wanted) -> None:
    device, precision = wanted.device, wanted.precision
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")
    if precision not in (None, *PRECISIONS):
        raise UsageError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if wanted.graph not in (None, *KINDS):
        raise UsageError(f"unknown graph {wanted.graph!r}: choose one of {', '.join(KINDS)}")
    if backend == "torch" and precision not in (None, "fp32"):
        raise UsageError(f"backend torch runs in fp32, not {precision}: use backend onnxruntime")
    if wanted.hint not in HINTS:
        raise UsageError(f"unknown hint {wanted.hint!r}: choose one of {', '.join(HINTS)}")
    _check_threads(wanted.threads)
    if backend in ("torch", *TARGETS) and (wanted.threads, wanted.hint) != (None, "latency"):
        raise UsageError(f"threads and hint are for openvino and onnxruntime, not for {backend}")


def _check_threads(threads: int | None) -> None:
    """More than this gain nothing, and thousands stop a machine."""
    cores = usable_cores()
    if threads is not None and not 1 <= threads <= THREADS_PER_CORE * cores:
        raise UsageError(
            f"threads must be 1 to {THREADS_PER_CORE * cores} on {cores} cores, not {threads}"
        )


def _ordinal(device: str) -> int:
    """ "auto", "cuda" -> 0, "cuda:1" -> 1."""
    return int(device.partition(":")[2] or 0)


def _device(backend: str, device: str) -> tuple[str, str]:
    """(device, why)."""
    _require("onnxruntime" if backend == "onnxruntime" else "torch")
    has_cuda = _ort_has_cuda() if backend == "onnxruntime" else _torch_has_cuda()
    if device.startswith("cuda") and not has_cuda:
        raise BackendError(
            f"{backend} finds no CUDA device here: use --device cpu, or install "
            + ("'apdepth-deploy[gpu]'" if backend == "onnxruntime" else "a CUDA build of torch")
        )
    if backend == "onnxruntime" and _ordinal(device) > 0:
        raise UsageError(
            f"onnxruntime runs on the first GPU, not on {device}: use --device cuda and set "
            f"CUDA_VISIBLE_DEVICES={_ordinal(device)}"
        )
    if device == "auto":
        return ("cuda", "CUDA is there") if has_cuda else ("cpu", "no CUDA here")
    return "cuda" if device == "cuda:0" else device, "as asked"


def _choose(
    chains: list[tuple[str, str]], engine: str, runs: tuple[str, ...], wanted: Wanted
) -> tuple[str, str]:
    """(kind, precision) of the chain to run: the engine's favourite, fused before staged.

    Args:
        engine: what runs it and where, for messages; runs: its precisions, best first.
    """
    precision = wanted.precision
    precisions = runs if precision is None else (precision,)
    kinds = KINDS if wanted.graph is None else (wanted.graph,)
    for choice in precisions:
        for kind in kinds:
            if (kind, choice) in chains and choice in runs:
                return kind, choice
    there = ", ".join(f"{kind} {p}" for kind, p in chains) or "no graphs"
    if precision is not None and precision not in runs:
        raise BackendError(f"{engine} runs {', '.join(runs)}, not {precision}")
    raise BackendError(
        f"the bundle has {there}; {engine} needs {' or '.join(precisions)}"
        + ("" if wanted.graph is None else f" {wanted.graph}")
        + f": export with --precision {precisions[0]}"
        + ("" if wanted.graph is None else f" --graph {wanted.graph}")
    )


def _require(module: str) -> None:
    if not _is_installed(module):
        extra = "export" if module == "torch" else module
        raise BackendError(f"{module} is not installed: pip install 'apdepth-deploy[{extra}]'")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _ort_has_cuda() -> bool:
    built = "CUDAExecutionProvider" in import_onnxruntime().get_available_providers()
    return built and bool(nvidia_gpus())


def _torch_has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
