"""One thread's way through the engines: contexts, buffers, a stream, and a CUDA graph.

Between staged engines tensors stay on the GPU. Knows nothing about bundles.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import BackendError
from apdepth_deploy.pictures.image import ImageArray

from ..chain import Finished, FloatArray
from ..cuda import Device, Event, Graph, Memory, Pinned, Stream, copy_on_device
from .engine import LoadedEngine, Shape

#: What TensorRT asks of a tensor's address.
_ALIGNMENT = 256
#: As many frame sizes are kept ready: each has contexts with activations of their own.
_SIZES = 4


@dataclasses.dataclass(eq=False)
class _Ready:
    """Contexts, and what of them holds for the frame size that they ran last."""

    contexts: list[Any]
    shapes: dict[str, Shape] = dataclasses.field(default_factory=dict)
    given: dict[str, int] | None = None
    graph: Graph | None = None
    runs: int = 0


class Lane:
    """To be used by one thread at a time, with its device current.

    Whatever stream a run is queued on, it waits for the lane's last one: they share buffers.

    Attributes:
        close: frees everything, once the device is done with it.
    """

    def __init__(self, device: Device, engines: list[LoadedEngine], profiled: bool = False) -> None:
        """Raises BackendError where there is no room. ``profiled``: see ``profile``."""
        self._device, self._engines, self._profiled = device, engines, profiled
        self._ready: list[_Ready] = []  # at the end the one in use, at the front the longest unused
        self._most = _SIZES
        self._compiled: set[Shape] = set()  # frames whose kernels are kept
        self._may_capture = not profiled and not engines[0].captures_itself
        self._profilers: list[Any] = []  # TensorRT may hold no reference of its own
        self._host: dict[str, Pinned] = {}
        self._resources = ExitStack()
        try:
            self._build()
        except BaseException:
            self._resources.close()
            raise
        release = weakref.finalize(self, _release, device, self._done, self._resources)
        release.atexit = False
        self.close: Callable[[], Any] = release

    def upload(self, frames: ImageArray) -> None:
        """Queue the copy of frames, uint8 [B,H,W,3], to the device."""
        with self._settled():
            self._done.synchronize()  # a run queued elsewhere may still use these buffers
            self._reshape(frames.shape)
            self._upload("image", frames)

    def execute(self, finished: Finished | None = None) -> None:
        """Queue one run on the lane's own stream and buffers.

        The first run warms up, the second is captured in a CUDA graph, which later ones launch.
        """
        with self._settled():
            self._bind({})
            if finished is not None:
                self._run_each(finished)
            elif not (self._may_capture and self._now.runs and self._launch()):
                self._queue(self.stream.handle)
            self._ran_on(self.stream.handle)

    def execute_on(self, stream: int, frames: int, shape: Shape, depth: int) -> None:
        """Queue one run on somebody's stream, from and to their memory.

        An address that TensorRT can't take is served by a copy on the device.
        """
        given = {"image": frames, "depth": depth}
        direct = {name: at for name, at in given.items() if at % _ALIGNMENT == 0}
        with self._settled():
            self._done.hold(stream)
            self._reshape(shape)
            self._bind(direct)
            if "image" not in direct:
                self._copy(self._buffers["image"].pointer, frames, "image", stream)
            self._queue(stream)
            if "depth" not in direct:
                self._copy(depth, self._buffers["depth"].pointer, "depth", stream)
            self._ran_on(stream)

    def run_one(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, FloatArray]:
        """One engine's results on given tensors, the frames among them."""
        with self._settled():
            self._done.synchronize()
            self._reshape(tensors["image"].shape)
            self._bind({})
            ((engine, context),) = (step for step in self._steps() if step[0].name == name)
            for tensor in engine.inputs:
                self._upload(tensor, tensors[tensor])
            engine.enqueue(context, self.stream.handle)
            self._done.record(self.stream.handle)
        return self.download(engine.outputs)

    def download(self, names: Iterable[str]) -> dict[str, FloatArray]:
        """Copies of those tensors that there are, once they are computed."""
        there = [name for name in names if name in self._now.shapes]
        with self._settled():
            for name in there:
                self.stream.download(self._staging(name), self._buffers[name], self._nbytes(name))
            self.stream.synchronize()
        return {name: self._result(name) for name in there}

    def measure(self, start: Event, end: Event) -> float:
        """Seconds that one run takes on the device."""
        start.record(self.stream.handle)
        self.execute()
        end.record(self.stream.handle)
        end.synchronize()
        return end.seconds_since(start)

    def profile(self, runs: int) -> list[tuple[str, float]] | None:
        """(layer, mean seconds) in order, of a lane made ``profiled``; None where none is told."""
        self._bind({})
        total: dict[str, float] = {}
        for engine, context in self._steps():
            times: list[tuple[str, float]] = []
            context.profiler = engine.profiler(times)
            self._profilers.append(context.profiler)
            for _ in range(runs):
                engine.enqueue(context, self.stream.handle)
                self.stream.synchronize()
            prefix = f"{engine.name}/" if len(self._engines) > 1 else ""
            for layer, seconds in times:
                total[prefix + layer] = total.get(prefix + layer, 0.0) + seconds
        return [(layer, seconds / runs) for layer, seconds in total.items()] or None

    @property
    def _now(self) -> _Ready:
        return self._ready[-1]

    def _steps(self) -> Iterable[tuple[LoadedEngine, Any]]:
        return zip(self._engines, self._now.contexts, strict=True)

    def _build(self) -> None:
        """Contexts, and buffers for the largest frames."""
        self.stream = Stream(self._device)
        self._resources.callback(self.stream.close)
        self._done = Event(self._device)
        self._resources.callback(self._done.close)
        self._resources.callback(self._ready.clear)
        self._ready.append(self._new_contexts())
        self._reshape(self._engines[0].largest("image"))
        self._buffers = {name: self._keep(Memory, self._nbytes(name)) for name in self._now.shapes}
        for name in ("image", "depth"):
            self._staging(name)

    def _keep(self, kind: Callable[[Device, int], Any], nbytes: int) -> Any:
        resource = kind(self._device, nbytes)
        self._resources.callback(resource.close)
        return resource

    def _staging(self, name: str) -> Pinned:
        """Host memory for a tensor of the largest size."""
        if name not in self._host:
            nbytes = self._buffers[name].nbytes
            self._host[name] = self._keep(Pinned, nbytes)
        return self._host[name]

    def _upload(self, name: str, values: NDArray[Any]) -> None:
        staging, raw = self._staging(name), np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        np.copyto(staging.array[: raw.size], raw)
        self.stream.upload(self._buffers[name], staging, raw.size)

    def _new_contexts(self) -> _Ready:
        return _Ready([engine.new_context(self._profiled) for engine in self._engines])

    def _reshape(self, shape: Shape) -> None:
        """Take frames [B,H,W,3] of this size from now on."""
        fitting = [ready for ready in self._ready if ready.shapes.get("image") == shape]
        ready = fitting[0] if fitting else self._spare()
        self._ready.remove(ready)
        self._ready.append(ready)
        if not fitting:
            self._set_shapes(shape)

    def _spare(self) -> _Ready:
        """Contexts for another size: unused or new ones, else those that were longest unused."""
        spare = min(self._ready, key=lambda ready: ready.runs > 0)
        if spare.runs and len(self._ready) < self._most:
            try:
                spare = self._new_contexts()
                self._ready.append(spare)
            except BackendError:  # no room for more
                self._most = len(self._ready)
        return spare

    def _set_shapes(self, shape: Shape) -> None:
        now, shapes = self._now, {"image": shape}
        now.shapes, now.graph, now.runs = {}, None, 0
        for engine, context in self._steps():
            engine.set_shapes(context, shapes)
        now.shapes = shapes

    def _bind(self, given: dict[str, int]) -> None:
        """Read and write at ``given`` addresses, and in the lane's buffers for the others."""
        now = self._now
        if given == now.given:
            return
        now.given = None
        for engine, context in self._steps():
            for name in (*engine.inputs, *engine.outputs):
                address = given.get(name, self._buffers[name].pointer)
                if not context.set_tensor_address(name, address):
                    raise BackendError(f"TensorRT refuses the address of {name}")
        now.given = given

    def _queue(self, stream: int) -> None:
        for engine, context in self._steps():
            engine.enqueue(context, stream)

    def _run_each(self, finished: Finished) -> None:
        for engine, context in self._steps():
            engine.enqueue(context, self.stream.handle)
            self.stream.synchronize()
            finished(engine.name)

    def _launch(self) -> bool:
        """Run the CUDA graph, captured if need be; False where the engines can't be captured."""
        now = self._now
        if now.graph is None:
            try:
                now.graph = self.stream.capture(lambda: self._queue(self.stream.handle))
            except BackendError:
                self._may_capture = False
                return False
        now.graph.launch(self.stream.handle)
        return True

    def _ran_on(self, stream: int) -> None:
        """A run is queued; after the first with these shapes, all kernels are compiled."""
        self._done.record(stream)
        self._now.runs += 1
        if (shape := self._now.shapes["image"]) not in self._compiled:
            self._compiled.add(shape)
            for engine in self._engines:
                if engine.cache is not None:
                    engine.cache.save()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        """Wait for what is queued where a step fails: its memory may be freed or filled anew."""
        try:
            yield
        except BaseException:
            with suppress(BackendError):
                self._device.synchronize()
            raise

    def _copy(self, target: int, source: int, name: str, stream: int) -> None:
        copy_on_device(self._device, target, source, self._nbytes(name), stream)

    def _nbytes(self, name: str) -> int:
        item = 1 if name == "image" else 4  # seams and depth are float32
        return item * int(np.prod(self._now.shapes[name]))

    def _result(self, name: str) -> FloatArray:
        raw = self._host[name].array[: self._nbytes(name)]
        return raw.view(np.float32).reshape(self._now.shapes[name]).copy()


def _release(device: Device, done: Event, resources: ExitStack) -> None:
    """Nothing that is still queued may lose its memory."""
    device.free("cuEventSynchronize", done.handle)
    with device.current():
        resources.close()
