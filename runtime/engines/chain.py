"""What every backend offers: a chain from frames to depth, its stages' results, and its timings."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.bundle import SEAMS, Graph, TensorInfo, axis_sizes
from apdepth_deploy.errors import BundleError, UsageError
from apdepth_deploy.pictures.image import ImageArray

from .verdicts import Place

FloatArray = NDArray[np.float32]
#: A graph's tensors and the stage each is the result of.
STAGE_OF = {tensor: stage for stage, tensor in SEAMS.items()}
#: Called with a graph's name as soon as its result is there.
Finished = Callable[[str], None]


class Chain(abc.ABC):
    """Frames in, depth out, on one engine.

    Attributes:
        backend: the backend's name; device: where it runs ("cpu", "cuda:0", ...); precision: in
            what it computes.
        graphs: names of the graphs it runs, in order: "fused", or the stages'.
        files: what it runs, as the manifest names them.
        batch, height, width: frame sizes it takes, as in the manifest (number or [min, opt, max]).
        reason: what runs where in what, and why, in words, by who opened it.
        warnings: what is known to go wrong with it here.
    """

    backend: str
    device: str
    precision: str
    graphs: tuple[str, ...]
    files: tuple[str, ...]
    batch: Any
    height: Any
    width: Any
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @abc.abstractmethod
    def run(self, frames: ImageArray, finished: Finished | None = None) -> Mapping[str, FloatArray]:
        """uint8 [B,H,W,3] -> {"decoder": depth float32 [B,H,W]}, and the stages that are known.

        ``finished`` makes an asynchronous engine wait for each graph: for profiling only.
        """

    def run_graph(self, name: str, tensors: Mapping[str, Any]) -> Mapping[str, FloatArray]:
        """One of ``graphs`` alone: tensors by their names in the graph, with the batch -> its
        results likewise."""
        raise UsageError(f"{self.backend} has no graphs to run alone")

    def place(self) -> Place:
        """The device's own name, its driver, and the library that runs there."""
        raise UsageError(f"{self.backend} is not judged")

    def enqueue(self, frames: Any, stream: Any, out: Any = None) -> Any:
        """See ``Predictor.enqueue``."""
        raise UsageError(
            f"{self.backend} takes host arrays only: call predictor with a NumPy array, or build "
            "an engine and load it with backend tensorrt-rtx or tensorrt"
        )

    def predict_on_device(self, image: Any) -> Any:
        """[H,W,3] uint8 on a GPU, of the graph's own size -> depth [H,W] there."""
        return self.enqueue(image, None)

    def settle(self) -> None:  # noqa: B027 - most chains are one engine from the start
        """Wait until the engine runs that later frames will run on."""

    def close(self) -> None:  # noqa: B027 - most engines free themselves
        """Free the device's memory now; a later call would take it again."""

    def device_seconds(self, frames: ImageArray, runs: int) -> list[float] | None:
        """Seconds of each of ``runs`` runs on the device alone, without copies to and from the
        host; None where there is no such thing."""
        return None

    def layer_seconds(self, frames: ImageArray, runs: int) -> list[tuple[str, float]] | None:
        """(layer, mean seconds) in the order in which they run; None where the engine can't tell.

        Measuring layers slows the whole: only the shares mean something.
        """
        return None


class Step(Protocol):
    """One graph on an engine that takes host arrays."""

    name: str

    def run(self, tensors: dict[str, Any]) -> dict[str, FloatArray]:
        """The graph's outputs, of the tensors made so far."""
        ...


def run_one(graphs: Sequence[Step], name: str, tensors: Mapping[str, Any]) -> dict[str, FloatArray]:
    """See ``Chain.run_graph``."""
    (graph,) = (graph for graph in graphs if graph.name == name)
    return graph.run(dict(tensors))


def run_all(
    graphs: Sequence[Step], frames: ImageArray, finished: Finished | None = None
) -> dict[str, FloatArray]:
    """Graphs one after the other: see ``Chain.run``."""
    tensors: dict[str, Any] = {"image": frames}
    for graph in graphs:
        tensors |= graph.run(tensors)
        if finished is not None:
            finished(graph.name)
    check_depth(tensors["depth"], frames)
    return {STAGE_OF[name]: value for name, value in tensors.items() if name in STAGE_OF}


def check_depth(depth: FloatArray, frames: ImageArray) -> None:
    """Raises BundleError where a graph's depth is not one float32 a pixel: not of these frames."""
    if depth.shape != frames.shape[:3] or depth.dtype != np.float32:
        raise BundleError(
            f"the graph gives {depth.dtype} {list(depth.shape)} for frames of "
            f"{list(frames.shape)}: it is not what the manifest says. Export the bundle again"
        )


#: {tensor: (NumPy's name of its type, its axes; None where one ranges)}.
Declared = Mapping[str, tuple[str, Sequence[int | None]]]


def check_tensors(graph: Graph, inputs: Declared, outputs: Declared) -> None:
    """What an engine reads in a graph's file against what the manifest says of it.

    Raises BundleError where they differ.
    """
    if inputs.keys() != {tensor.name for tensor in graph.inputs}:
        raise _strays(graph, f"inputs {sorted(inputs)}", sorted(t.name for t in graph.inputs))
    sizes = graph.batch, graph.height, graph.width
    frame = {"image": (*sizes, 3), "depth": sizes}
    for tensor in (*graph.inputs, *graph.outputs):
        said = TensorInfo(tensor.name, tensor.dtype, frame.get(tensor.name, tensor.shape))
        dtype, axes = {**inputs, **outputs}.get(tensor.name, ("no such tensor", ()))
        fits = len(axes) == len(said.shape) and all(map(_is_axis, axes, said.shape))
        if dtype != said.dtype or not fits or said.shape != tensor.shape:
            found = f"{tensor.name}: {dtype} {list(axes)}"
            raise _strays(graph, found, f"{tensor.dtype} {list(tensor.shape)} for {_frame(graph)}")


def _is_axis(found: int | None, said: Any) -> bool:
    low, _, high = axis_sizes(said)
    return found is None or found == low == high


def _frame(graph: Graph) -> str:
    return "frames of " + "x".join(str(n) for n in (graph.batch, graph.height, graph.width))


def _strays(graph: Graph, found: str, said: object) -> BundleError:
    return BundleError(
        f"{graph.file} has {found}, and the manifest says {said}. Export the bundle again"
    )


def one_line(error: Exception) -> str:
    """An engine's own words, short enough for a message."""
    return " ".join(str(error).split())[:300] or type(error).__name__
