"""The parts of ``gpu_check.py``: PyTorch, the exported graphs and the engines, timed and compared.

What a part imports is imported when it runs: the packages may come with ``--wheels``.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: {name: (frames uint8 [1,H,W,3], depth float32 [1,H,W])}.
Expected = dict[str, tuple[Any, Any]]


class Skip(Exception):  # noqa: N818 - not an error
    """Why a part can't run here."""


@dataclasses.dataclass
class Setting:
    """What all parts share."""

    preset: str
    height: int
    width: int
    runs: int
    device: str
    folder: Path

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.height, self.width


# --- PyTorch -------------------------------------------------------------------------------------


def random_model(setting: Setting) -> Any:
    from apdepth_deploy.model.loading import load_model
    from apdepth_deploy.spec import ModelSource

    return load_model(ModelSource(setting.preset, seed=0)).to(setting.device).eval()


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """TF32 in matrix products and convolutions meanwhile; afterwards as it was.

    By PyTorch's defaults it is on in convolutions alone.
    """
    import torch

    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


def reference(setting: Setting, model: Any) -> Expected:
    """What the float32 model gives for the sample frames, without TF32."""
    import torch

    from apdepth_deploy.verify import sample_frames

    found = {}
    with torch.inference_mode(), tf32(False):
        for name, frames in sample_frames(setting.shape).items():
            depth = model(torch.from_numpy(frames).to(setting.device))
            found[name] = (frames, depth.float().cpu().numpy())
    return found


def torch_latency(
    setting: Setting, model: Any, precision: str, compiled: bool = False
) -> dict[str, Any]:
    """Median ms from a frame on the host to depth on the host, and without the copies.

    Eager float32 with PyTorch's defaults is how the authors run it.
    """
    import torch

    from apdepth_deploy.verify import sample_frames

    if compiled and setting.device == "cpu":
        raise Skip("compiled PyTorch is measured on a GPU")
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    model = model.to(setting.device, dtype)
    if compiled:
        model = torch.compile(model)
    frame = torch.from_numpy(sample_frames(setting.shape)["photo"])
    there = frame.to(setting.device)

    def without_copies() -> None:
        model(there)
        if setting.device != "cpu":
            torch.cuda.synchronize()

    with torch.inference_mode():
        start = time.perf_counter()
        for _ in range(3):
            without_copies()
        warm_up = time.perf_counter() - start
        host = median_ms(lambda: model(frame.to(setting.device)).cpu(), setting.runs)
        device = median_ms(without_copies, setting.runs)
    allowed = {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "convolution": torch.backends.cudnn.allow_tf32,
    }
    return {"host_ms": host, "device_ms": device, "warm_up_s": round(warm_up, 1), "tf32": allowed}


def median_ms(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 3)


# --- graphs and engines --------------------------------------------------------------------------


def export(setting: Setting, model: Any, precision: str) -> str:
    """Fused and staged graphs; returns the bundle's folder."""
    from apdepth_deploy.export import FrameShape, export_bundle

    folder = setting.folder / precision
    export_bundle(
        model.cpu(),
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
