"""PyTorch's part of ``gpu_check.py``: ways to run the model, and what the card can do at best.

What is imported is imported when it runs: the packages may come with ``--wheels``.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
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


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to run the model.

    Attributes:
        folded: with its constants worked out, as the graphs are.
        light: with a light VAE (TAESD's layout) in place of Stable Diffusion's.
        run: "eager", "CUDA graph" or "compiled".
    """

    precision: str
    folded: bool = False
    channels_last: bool = False
    light: bool = False
    run: str = "eager"

    @property
    def label(self) -> str:
        words = [
            "torch",
            self.run,
            self.precision,
            "folded" if self.folded else "",
            "channels_last" if self.channels_last else "",
            "light VAE" if self.light else "",
        ]
        return " ".join(filter(None, words))


#: The authors' way first; what takes long to compile last.
WAYS = (
    Way("fp32"),
    Way("fp16"),
    Way("fp16", run="CUDA graph"),
    Way("fp16", folded=True),
    Way("fp16", folded=True, run="CUDA graph"),
    Way("fp16", folded=True, channels_last=True, run="CUDA graph"),
    Way("fp16", channels_last=True, run="CUDA graph"),
    Way("fp16", light=True),
    Way("fp16", folded=True, light=True),
    Way("fp16", folded=True, channels_last=True, light=True, run="CUDA graph"),
    Way("bf16"),
    Way("bf16", folded=True, channels_last=True, run="CUDA graph"),
)
COMPILED = (Way("fp16", folded=True, run="compiled"), Way("fp16", run="compiled"))


def random_model(setting: Setting, light: bool = False) -> Any:
    """The float32 model with drawn weights, on the CPU."""
    from apdepth_deploy.model.loading import load_model
    from apdepth_deploy.spec import TAESD, ModelSource

    source = ModelSource(setting.preset, seed=0, vae=TAESD if light else None)
    return load_model(source).eval()


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
    """What a float32 model gives for the sample frames, without TF32."""
    import torch

    from apdepth_deploy.verify import sample_frames

    found = {}
    model = model.to(setting.device)
    with torch.inference_mode(), tf32(False):
        for name, frames in sample_frames(setting.shape).items():
            depth = model(torch.from_numpy(frames).to(setting.device))
            found[name] = (frames, depth.float().cpu().numpy())
    return found


def prepared(setting: Setting, way: Way, model: Any) -> Any:
    """A float32 model made ready for a way, in place, on the device."""
    import torch

    from apdepth_deploy.export.folding import fold

    if way.folded:
        fold(model)
        if model.prior is not None:
            model.prior.freeze_positions(setting.height, setting.width)
    dtypes = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    return model.to(setting.device, dtypes[way.precision]).to(memory_format=layout)


def torch_latency(setting: Setting, way: Way, model: Any, expected: Expected) -> dict[str, Any]:
    """Median ms from a frame on the host to depth on the host, and without the copies; parity with
    PyTorch's own float32.

    Args:
        model: float32, on any device; changed.
        expected: of that model.
    """
    import torch

    from apdepth_deploy.verify import compare

    if setting.device == "cpu" and way.run != "eager":
        raise Skip(f"PyTorch's {way.run} is measured on a GPU")
    frame = torch.from_numpy(expected["photo"][0])
    there = frame.to(setting.device)
    start = time.perf_counter()
    with torch.inference_mode():
        run = _RUNS[way.run](prepared(setting, way, model), there)

        def without_copies() -> None:
            run(there)
            if setting.device != "cpu":
                torch.cuda.synchronize()

        without_copies()
        warm_up = time.perf_counter() - start
        host = median_ms(lambda: run(frame.to(setting.device)).cpu(), setting.runs)
        device = median_ms(without_copies, setting.runs)
        records = [
            compare(
                depth,
                run(torch.from_numpy(frames).to(setting.device)).float().cpu().numpy(),
                (way.label, way.precision, "torch", name, "decoder"),
            )
            for name, (frames, depth) in expected.items()
        ]
    return {
        "host_ms": host,
        "device_ms": device,
        "warm_up_s": round(warm_up, 1),
        "parity": [dataclasses.asdict(record) for record in records],
        "passed": all(record.passed for record in records),
        "tf32": {
            "matmul": torch.backends.cuda.matmul.allow_tf32,
            "convolution": torch.backends.cudnn.allow_tf32,
        },
    }


def _eager(model: Any, frame: Any) -> Any:
    for _ in range(3):
        model(frame)
    return model


def _compiled(model: Any, frame: Any) -> Any:
    import torch

    return _eager(torch.compile(model), frame)


def _graph(model: Any, frame: Any) -> Callable[[Any], Any]:
    """Captured once, replayed for each frame: one launch for all kernels."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _eager(model, frame)
    torch.cuda.current_stream().wait_stream(stream)
    seen = frame.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        depth = model(seen)

    def run(frames: Any) -> Any:
        seen.copy_(frames)
        graph.replay()
        return depth

    return run


_RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "eager": _eager,
    "CUDA graph": _graph,
    "compiled": _compiled,
}


def matrix_rate(setting: Setting, size: int = 8192) -> dict[str, Any]:
    """TFLOP/s of one large float16 product (float32 on a CPU): what the card does at best."""
    import torch

    dtype = torch.float32 if setting.device == "cpu" else torch.float16
    size = 512 if setting.device == "cpu" else size
    one, other = (torch.randn(size, size, device=setting.device, dtype=dtype) for _ in range(2))

    def product() -> None:
        torch.mm(one, other)
        if setting.device != "cpu":
            torch.cuda.synchronize()

    for _ in range(3):
        product()
    return {"tflops": round(2e-9 * size**3 / median_ms(product, setting.runs), 3), "size": size}


def gflop(setting: Setting, way: Way, spec: Any) -> float:
    """Of one frame, 2 operations per multiply-add; counted without weights."""
    from apdepth_deploy.export.folding.record import folding_record

    record = folding_record(spec, setting.shape, way.folded)
    return float(sum(record["after"]["gflop"].values()))


def median_ms(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(1e3 * statistics.median(times), 3)
