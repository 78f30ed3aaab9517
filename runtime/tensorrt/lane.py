"""One thread's way through the engines: contexts, buffers, a stream, and a CUDA graph.

Between staged engines tensors stay on the GPU. Knows nothing about bundles.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from apdepth_deploy.errors import BackendError
from apdepth_deploy.image import ImageArray

from ..chain import Finished, FloatArray
from ..cuda import Device, Event, Graph, Memory, Pinned, Stream, copy_on_device
from .engine import LoadedEngine, Shape

#: What TensorRT asks of a tensor's address.
_ALIGNMENT = 256


class Lane:
    """To be used by one thread at a time, with its device current.

    Whatever stream a run is queued on, it waits for the lane's last one: they share buffers.

    Attributes:
        close: frees everything, once the device is done with it.
    """

    def __init__(self, device: Device, engines: list[LoadedEngine], profiled: bool = False) -> None:
        """Raises BackendError where there is no room. ``profiled``: see ``profile``."""
        self._device, self._engines = device, engines
        self._shapes: dict[str, Shape] = {}
        self._given: dict[str, int] | None = None
        self._graphs: list[Graph] = []  # one at most, for the shapes at hand
        self._runs = 0  # with the shapes at hand
        self._may_capture = not profiled and not engines[0].captures_itself
        self._contexts: list[Any] = []
        self._profilers: list[Any] = []  # TensorRT may hold no reference of its own
        self._host: dict[str, Pinned] = {}
        self._resources = ExitStack()
        try:
            self._build(profiled)
        except BaseException:
            self._resources.close()
            raise
        release = weakref.finalize(self, _release, device, self._done, self._resources)
        release.atexit = False
        self.close: Callable[[], Any] = release

    def upload(self, frames: ImageArray) -> None:
        """Queue the copy of frames, uint8 [B,H,W,3], to the device."""
        self._done.synchronize()  # a run queued elsewhere may still use these buffers
        self._reshape(frames.shape)
        staging = self._staging("image")
        np.copyto(staging.array[: frames.size].reshape(frames.shape), frames)
        self.stream.upload(self._buffers["image"], staging, frames.nbytes)

    def execute(self, finished: Finished | None = None) -> None:
        """Queue one run on the lane's own stream and buffers.

        The first run warms up, the second is captured in a CUDA graph, which later ones launch.
        """
        self._bind({})
        if finished is not None:
            self._run_each(finished)
        elif not (self._may_capture and self._runs and self._launch()):
            self._queue(self.stream.handle)
        self._ran_on(self.stream.handle)

    def execute_on(self, stream: int, frames: int, shape: Shape, depth: int) -> None:
        """Queue one run on somebody's stream, from and to their memory.

        An address that TensorRT can't take is served by a copy on the device.
        """
        self._done.hold(stream)
        self._reshape(shape)
        given = {"image": frames, "depth": depth}
        direct = {name: at for name, at in given.items() if at % _ALIGNMENT == 0}
        self._bind(direct)
        if "image" not in direct:
            self._copy(self._buffers["image"].pointer, frames, "image", stream)
        self._queue(stream)
        if "depth" not in direct:
            self._copy(depth, self._buffers["depth"].pointer, "depth", stream)
        self._ran_on(stream)

    def download(self, names: Iterable[str]) -> dict[str, FloatArray]:
        """Copies of those tensors that there are, once they are computed."""
        there = [name for name in names if name in self._shapes]
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
        for engine, context in zip(self._engines, self._contexts, strict=True):
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

    def _build(self, profiled: bool) -> None:
        """Contexts, and buffers for the largest frames."""
        self.stream = Stream(self._device)
        self._resources.callback(self.stream.close)
        self._done = Event(self._device)
        self._resources.callback(self._done.close)
        self._resources.callback(self._contexts.clear)
        self._resources.callback(self._graphs.clear)
        for engine in self._engines:
            self._contexts.append(engine.new_context(profiled))
        self._reshape(self._engines[0].largest("image"))
        self._buffers = {name: self._keep(Memory, self._nbytes(name)) for name in self._shapes}
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

    def _reshape(self, shape: Shape) -> None:
        """Take frames [B,H,W,3] of another size from now on."""
        if self._shapes.get("image") == shape:
            return
        self._shapes, shapes = {}, {"image": shape}
        self._graphs.clear()
        for engine, context in zip(self._engines, self._contexts, strict=True):
            engine.set_shapes(context, shapes)
        self._shapes = shapes
        self._runs = 0

    def _bind(self, given: dict[str, int]) -> None:
        """Read and write at ``given`` addresses, and in the lane's buffers for the others."""
        if given == self._given:
            return
        self._given = None
        for engine, context in zip(self._engines, self._contexts, strict=True):
            for name in (*engine.inputs, *engine.outputs):
                address = given.get(name, self._buffers[name].pointer)
                if not context.set_tensor_address(name, address):
                    raise BackendError(f"TensorRT refuses the address of {name}")
        self._given = given

    def _queue(self, stream: int) -> None:
        try:
            for engine, context in zip(self._engines, self._contexts, strict=True):
                engine.enqueue(context, stream)
        except BackendError:
            with suppress(BackendError):  # what is queued already may still use the memory
                self._device.synchronize()
            raise

    def _run_each(self, finished: Finished) -> None:
        for engine, context in zip(self._engines, self._contexts, strict=True):
            engine.enqueue(context, self.stream.handle)
            self.stream.synchronize()
            finished(engine.name)

    def _launch(self) -> bool:
        """Run the CUDA graph, captured if need be; False where the engines can't be captured."""
        if not self._graphs:
            try:
                self._graphs.append(self.stream.capture(lambda: self._queue(self.stream.handle)))
            except BackendError:
                self._may_capture = False
                return False
        self._graphs[0].launch(self.stream.handle)
        return True

    def _ran_on(self, stream: int) -> None:
        """A run is queued; after the first with these shapes, all kernels are compiled."""
        self._done.record(stream)
        self._runs += 1
        if self._runs == 1:
            for engine in self._engines:
                if engine.cache is not None:
                    engine.cache.save()

    def _copy(self, target: int, source: int, name: str, stream: int) -> None:
        copy_on_device(self._device, target, source, self._nbytes(name), stream)

    def _nbytes(self, name: str) -> int:
        item = 1 if name == "image" else 4  # seams and depth are float32
        return item * int(np.prod(self._shapes[name]))

    def _result(self, name: str) -> FloatArray:
        raw = self._host[name].array[: self._nbytes(name)]
        return raw.view(np.float32).reshape(self._shapes[name]).copy()


def _release(device: Device, done: Event, resources: ExitStack) -> None:
    """Nothing that is still queued may lose its memory."""
    device.free("cuEventSynchronize", done.handle)
    with device.current():
        resources.close()
