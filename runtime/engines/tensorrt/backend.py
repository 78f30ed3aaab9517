"""TensorRT and TensorRT for RTX on an NVIDIA GPU, without torch.

Every thread has a lane of its own: execution contexts, buffers and a stream.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from apdepth_deploy.bundle import Bundle, axis_sizes
from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import ImageArray

from ..cache import cache_folder, why_unwritable
from ..chain import STAGE_OF, Chain, Finished, FloatArray
from ..cuda import Device, Event
from ..device_array import DeviceArray, DeviceView, stream_handle, view_array
from ..verdicts import Place
from ..wanted import Wanted
from .choice import Choice, check_hashes, choose_engines, doubt
from .engine import LoadedEngine, Shape
from .lane import Lane


def open_tensorrt(
    target: str, bundle: Bundle, wanted: Wanted, *, trusting: bool = True, probe: bool = False
) -> Chain:
    """The engines in the bundle that fit this machine.

    Args:
        trusting: also engines that `verify` has found to miss here, with a warning.
        probe: give every stage's result, where the engines are staged.

    Raises BackendError, UsageError.
    """
    if wanted.device == "cpu":
        raise UsageError(f"{target} runs on NVIDIA GPUs, not on cpu: use --backend onnxruntime")
    choice = choose_engines(
        bundle, target, wanted.precision, wanted.graph, wanted.ordinal, trusting=trusting
    )
    if wanted.check_hashes:
        choice = check_hashes(bundle, choice)
    chain = TrtChain(bundle, choice, probe)
    if unproven := doubt(bundle, choice):
        chain.warnings += (unproven,)
    chain.reason = (
        f"{target} on {chain.device}, {choice.precision}, {choice.kind} engine: "
        f"built for {choice.gpu['name']} ({choice.gpu['compute_capability']})"
    )
    return chain


class TrtChain(Chain):
    """The engines of one precision, run one after the other on one GPU."""

    def __init__(self, bundle: Bundle, choice: Choice, probe: bool = False) -> None:
        """
        Args:
            probe: copy every stage's result to the host, where the engines are staged.

        Raises:
            BackendError: the driver or TensorRT refuses, or the GPU's memory doesn't suffice.
        """
        self.backend, self.precision = choice.target, choice.precision
        self.device = f"cuda:{choice.ordinal}"
        self.graphs = tuple(engine.graph for engine in choice.engines)
        self.files = tuple(engine.file for engine in choice.engines)
        self._place = choice.place
        self.warnings = _warnings(choice)
        self.batch, self.height, self.width = choice.batch, choice.height, choice.width
        self._device = Device(choice.ordinal)
        self._engines = [LoadedEngine(bundle, e, choice, self._device) for e in choice.engines]
        self._probe = probe
        self._local = threading.local()
        self._lanes: weakref.WeakSet[Lane] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._lane()  # what doesn't fit in memory is better known now

    def run(self, frames: ImageArray, finished: Finished | None = None) -> dict[str, FloatArray]:
        """See ``Chain.run``. Safe to call from several threads: each has its own lane.

        Raises ImageError for frames of another size, BackendError where TensorRT fails.
        """
        self._check_frames(frames.shape, frames.dtype)
        lane = self._lane()
        with self._device.current():
            lane.upload(frames)
            lane.execute(finished)
            names = STAGE_OF if self._probe else ("depth",)
            return {STAGE_OF[name]: value for name, value in lane.download(names).items()}

    def run_graph(self, name: str, tensors: Mapping[str, Any]) -> dict[str, FloatArray]:
        """See ``Chain.run_graph``."""
        with self._device.current():
            return self._lane().run_one(name, tensors)

    def place(self) -> Place:
        """See ``Chain.place``."""
        return self._place

    def enqueue(self, frames: Any, stream: Any, out: Any = None) -> DeviceArray:
        """See ``Predictor.enqueue``."""
        handle = stream_handle(stream)
        lane = self._lane()
        with self._device.current():
            if self._device.is_capturing(handle):
                raise UsageError(
                    "the stream is being captured in a CUDA graph: enqueue outside of the capture"
                )
            return self._enqueue(lane, view_array(self._device, frames, handle), handle, out)

    def predict_on_device(self, image: Any) -> DeviceArray:
        """[H,W,3] uint8 on the GPU, of the engine's size -> depth [H,W] there, finished."""
        if not _within(1, self.batch):
            raise ImageError(f"the engine takes {self.batch} frames at once: use enqueue")
        lane = self._lane()
        with self._device.current():
            view = view_array(self._device, image, lane.stream.handle)
            if not view.ordered:  # its producer named no stream: it may still be at work
                self._device.synchronize()
            depth = self._enqueue(lane, view.batched(), lane.stream.handle, None)
            lane.stream.synchronize()
        return depth[0]

    def device_seconds(self, frames: ImageArray, runs: int) -> list[float]:
        """See ``Chain.device_seconds``; measured by CUDA events."""
        self._check_frames(frames.shape, frames.dtype)
        lane = self._lane()
        with self._device.current(), ExitStack() as stack:
            start, end = Event(self._device, timing=True), Event(self._device, timing=True)
            stack.callback(start.close)
            stack.callback(end.close)
            lane.upload(frames)
            lane.execute()
            lane.execute()  # the second run captures the graph that the others launch
            return [lane.measure(start, end) for _ in range(runs)]

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]] | None:
        """See ``Chain.layer_seconds``; layers of staged engines are called "stage/layer"."""
        self._check_frames(frames.shape, frames.dtype)
        with self._device.current():
            lane = Lane(self._device, self._engines, profiled=True)
            try:
                lane.upload(frames)
                return lane.profile(runs)
            finally:
                lane.close()

    def close(self) -> None:
        """Free every thread's buffers and contexts; nobody may be running."""
        for lane in list(self._lanes):
            lane.close()
        self._local = threading.local()

    def _lane(self) -> Lane:
        """The calling thread's; freed when the thread ends."""
        lane: Lane | None = getattr(self._local, "lane", None)
        if lane is None:
            lane = Lane(self._device, self._engines)
            with self._lock:
                self._lanes.add(lane)
            self._local.lane = lane
        return lane

    def _enqueue(self, lane: Lane, frames: DeviceView, stream: int, out: Any) -> DeviceArray:
        if not frames.is_contiguous:
            raise ImageError("the frames have gaps or another order: make them C-contiguous")
        self._check_frames(frames.shape, frames.dtype)
        shape = frames.shape[:3]
        if out is None:
            depth = DeviceArray.empty(self._device, shape, stream)
        else:
            depth = DeviceArray(self._device, shape, stream, self._check_out(out, shape, stream))
        lane.execute_on(stream, frames.pointer, frames.shape, depth.pointer)
        depth.mark_ready(frames)
        return depth

    def _check_out(self, out: Any, shape: Shape, stream: int) -> DeviceView:
        view = view_array(self._device, out, stream)
        fits = view.shape == shape and view.dtype == np.float32
        if not (fits and view.is_contiguous and not view.readonly):
            raise ImageError(
                f"out is to be a writable, C-contiguous float32 {list(shape)}, "
                f"not {view.dtype} {list(view.shape)}"
            )
        return view

    def _check_frames(self, shape: Shape, dtype: Any) -> None:
        """Raises ImageError for what the engines were not built for."""
        extents = (self.batch, self.height, self.width, 3)
        fits = len(shape) == 4 and all(map(_within, shape, extents))
        if dtype != np.uint8 or not fits:
            raise ImageError(
                f"this engine takes frames uint8 {list(extents)}, not {dtype} {list(shape)}"
            )


def _warnings(choice: Choice) -> tuple[str, ...]:
    found = [choice.warning] if choice.warning else []
    trouble = why_unwritable(cache_folder()) if choice.target == "tensorrt-rtx" else ""
    if trouble:
        found.append(f"TensorRT compiles kernels at every start, for none can be kept: {trouble}")
    return tuple(found)


def _within(size: int, extent: Any) -> bool:
    smallest, _, largest = axis_sizes(extent)
    return smallest <= size <= largest
