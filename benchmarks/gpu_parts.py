"""The exported graphs and the engines of ``gpu_check.py``, timed and compared.

What a part imports is imported when it runs: the packages may come with ``--wheels``.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gpu_torch import Expected, Setting, Skip, median_ms


def export(setting: Setting, model: Any, precision: str) -> str:
    """Fused and staged graphs; returns the bundle's folder."""
    from apdepth_deploy.export import FrameShape, export_bundle

    folder = setting.folder / precision
    export_bundle(
        model,
        folder,
        kinds=("fused", "staged"),
        precisions=(precision,),
        shape=FrameShape.fixed(*setting.shape),
        verify=False,
        progress=lambda line: print(f"   {line}", flush=True),
    )
    return str(folder)


def build(setting: Setting, folder: str, target: str) -> list[dict[str, Any]]:
    """Engines for the GPU here, fused and staged; a rehearsal builds for named GPUs."""
    from apdepth_deploy.errors import BackendError
    from apdepth_deploy.export import build_engines

    gpus = ["current"] if setting.device == "cuda" else []
    try:
        engines = build_engines(folder, target, gpus, progress=print)
    except BackendError as error:
        raise Skip(str(error)) from error
    return [dataclasses.asdict(engine) for engine in engines]


def open_predictor(
    setting: Setting, folder: str, backend: str, precision: str, kind: str | None = None
) -> Any:
    """A predictor, or the reason why this backend can't run here."""
    from apdepth_deploy import load
    from apdepth_deploy.errors import BackendError, UsageError

    try:
        return load(folder, backend, precision=precision, device=setting.device, graph=kind)
    except (BackendError, UsageError) as error:
        raise Skip(str(error)) from error


def run_backend(
    setting: Setting, folder: str, backend: str, kind: str, precision: str, expected: Expected
) -> dict[str, Any]:
    """Parity with PyTorch's float32, and latency."""
    from apdepth_deploy.verify import compare

    with open_predictor(setting, folder, backend, precision, kind) as predictor:
        chain = predictor.chain
        records = [
            compare(
                depth, chain.run(frames)["decoder"], (kind, precision, backend, name, "decoder")
            )
            for name, (frames, depth) in expected.items()
        ]
        frames = expected["photo"][0]
        device = chain.device_seconds(frames, setting.runs)
        return {
            "reason": predictor.reason,
            "parity": [dataclasses.asdict(record) for record in records],
            "passed": all(record.passed for record in records),
            "host_ms": median_ms(lambda: chain.run(frames), setting.runs),
            "device_ms": round(1e3 * statistics.median(device), 3) if device else None,
        }


def bound_onnxruntime(
    setting: Setting, folder: str, precision: str, expected: Expected
) -> dict[str, Any]:
    """ONNX Runtime's fused graph with frame and depth kept on the device (IOBinding), replayed as a
    CUDA graph: what that would bring ``OrtChain``."""
    import numpy as np
    import torch

    from apdepth_deploy.bundle import Bundle
    from apdepth_deploy.machine.telemetry import import_onnxruntime
    from apdepth_deploy.verify import compare

    ort = import_onnxruntime()
    graph = Bundle.open(folder).chain_graphs("fused", precision)[0]
    on_gpu = setting.device == "cuda"
    if not on_gpu and precision == "bf16":
        raise Skip("ONNX Runtime has no bfloat16 convolution on a CPU")
    if on_gpu and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise Skip("this onnxruntime has no CUDA: pip install 'apdepth-deploy[gpu]'")
    ort.preload_dlls() if on_gpu else None
    cuda = ("CUDAExecutionProvider", {"enable_cuda_graph": "1"})
    providers = [cuda] if on_gpu else ["CPUExecutionProvider"]
    session = ort.InferenceSession(f"{folder}/{graph.file}", providers=providers)
    frames, wanted = expected["photo"]
    place = setting.device, 0
    seen = ort.OrtValue.ortvalue_from_numpy(frames, *place)
    depth = ort.OrtValue.ortvalue_from_shape_and_type(wanted.shape, np.float32, *place)
    binding = session.io_binding()
    binding.bind_ortvalue_input("image", seen)
    binding.bind_ortvalue_output("depth", depth)

    def replay() -> None:
        session.run_with_iobinding(binding)
        if on_gpu:
            torch.cuda.synchronize()

    def with_copies() -> Any:
        seen.update_inplace(frames)
        replay()
        return depth.numpy()

    found = [with_copies() for _ in range(3)][-1]  # the first captures
    key = ("fused", precision, "onnxruntime bound", "photo", "decoder")
    record = compare(wanted, found, key)
    return {
        "parity": [dataclasses.asdict(record)],
        "passed": record.passed,
        "host_ms": median_ms(with_copies, setting.runs),
        "device_ms": median_ms(replay, setting.runs),
    }


def engine_details(
    setting: Setting, folder: str, backend: str, precision: str, expected: Expected
) -> dict[str, Any]:
    """What tests without a GPU can only show against a stand-in for the driver.

    Differences are the largest from a plain run on the host's array: they have to be 0.
    """
    import numpy as np
    import torch

    frames = expected["photo"][0]
    with open_predictor(setting, folder, backend, precision) as predictor:
        chain = predictor.chain
        plain = chain.run(frames)["decoder"]

        def difference(depth: Any) -> float:
            return float(np.abs(depth - plain).max())

        stream = torch.cuda.Stream()
        depth = predictor.enqueue(torch.from_numpy(frames).cuda(), stream)
        stream.synchronize()
        with ThreadPoolExecutor(4) as pool:
            threads = list(pool.map(lambda _: chain.run(frames)["decoder"], range(16)))
        layers = chain.layer_seconds(frames, 3)
        found = {
            "enqueue": difference(depth.numpy()),
            "dlpack": difference(torch.from_dlpack(depth).cpu().numpy()),
            "threads": max(map(difference, threads)),
            "layers": layers and sorted(layers, key=lambda layer: -layer[1])[:20],
            "free_bytes": torch.cuda.mem_get_info()[0],
        }
    found["free_bytes_closed"] = torch.cuda.mem_get_info()[0]
    start = time.perf_counter()
    with open_predictor(setting, folder, backend, precision) as predictor:
        found["second_start"] = difference(predictor.chain.run(frames)["decoder"])
        found["second_start_s"] = round(time.perf_counter() - start, 2)
    return found


def machine(setting: Setting) -> dict[str, Any]:
    from apdepth_deploy.machine.devices import gpu_facts, nvidia_gpus
    from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions

    facts, why = (None, "rehearsal on the CPU") if setting.device == "cpu" else gpu_facts(0)
    return {
        "machine": machine_facts(),
        "gpus": nvidia_gpus(),
        "nvml": facts or why,
        "versions": versions(),
    }
