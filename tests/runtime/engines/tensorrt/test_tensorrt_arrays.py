"""GPU arrays in and out: the caller's own pointers and stream; nothing copied, nothing wrong."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import Predictor, load
from apdepth_deploy.errors import BackendError, ImageError, UsageError

Add = Callable[..., Path]
MakeBundle = Callable[..., Path]


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def mean(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(image.astype(np.float64).mean(axis=-1) / 255.0)


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def machine(request: pytest.FixtureRequest, mean_bundle: MakeBundle, add_engines: Add) -> Any:
    """(Gpu, predictor for one frame 32x48)."""
    gpu = request.getfixturevalue("gpu" if request.param == "tensorrt-rtx" else "standard_gpu")
    folder = add_engines(mean_bundle(1, 32, 48), target=request.param)
    return gpu, load(folder, request.param)


def stream_of(gpu: Any) -> int:
    return int(gpu.driver.cuStreamCreate(1)[1])


def test_frames_go_in_and_depth_comes_out_without_a_copy(machine: Any) -> None:
    gpu, predictor = machine
    frames, out = noise(1, 32, 48), gpu.array(np.zeros((1, 32, 48), np.float32))
    given, stream = gpu.array(frames), stream_of(gpu)
    gpu.driver._calls.clear()
    depth = predictor.enqueue(given, stream, out)
    assert not {name for name in gpu.driver._calls if "Memcpy" in name or "Synchronize" in name}
    assert gpu.trt._contexts[0]._addresses == {"image": given.pointer, "depth": out.pointer}
    assert depth.pointer == out.pointer and not out.numpy().any()  # nothing has run yet
    gpu.driver.cuStreamSynchronize(stream)
    np.testing.assert_allclose(out.numpy(), mean(frames), atol=1e-6)


def test_new_memory_for_the_depth_is_the_callers(machine: Any) -> None:
    gpu, predictor = machine
    free, stream = gpu.driver._free_bytes, stream_of(gpu)
    many = [noise(1, 32, 48, seed=seed) for seed in range(3)]
    depths = [predictor.enqueue(gpu.array(frames), stream) for frames in many]
    for frames, depth in zip(many, depths, strict=True):
        np.testing.assert_allclose(depth.numpy(), mean(frames), atol=1e-6)
        interface = depth.__cuda_array_interface__
        assert (interface["shape"], interface["typestr"]) == ((1, 32, 48), "<f4")
        assert (interface["data"], interface["stream"]) == ((depth.pointer, False), stream)
        assert depth.__dlpack_device__() == (2, 0)
    spent = free - gpu.driver._free_bytes
    del depths, depth
    gc.collect()
    assert free - gpu.driver._free_bytes == spent - 3 * 32 * 48 * 4


def test_streams_take_turns_with_one_threads_buffers(machine: Any) -> None:
    """Two streams and the host path share a context: each run waits for the one before."""
    gpu, predictor = machine
    first, second = stream_of(gpu), stream_of(gpu)
    frames = [noise(1, 32, 48, seed=seed) for seed in range(3)]
    a = predictor.enqueue(gpu.array(frames[0], offset=1), first)
    b = predictor.enqueue(gpu.array(frames[1], offset=1), second)
    gpu.driver.cuStreamSynchronize(second)
    np.testing.assert_allclose(gpu.read(a), mean(frames[0]), atol=1e-6)
    np.testing.assert_allclose(gpu.read(b), mean(frames[1]), atol=1e-6)
    c = predictor.enqueue(gpu.array(frames[0]), first)
    np.testing.assert_allclose(predictor(frames[2][0]), mean(frames[2][0]), atol=1e-6)
    np.testing.assert_allclose(gpu.read(c), mean(frames[0]), atol=1e-6)


def test_what_is_queued_outlives_the_predictor_and_its_result(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    """Nothing is freed under a run that is still to come."""
    predictor = load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx")
    frames, stream = noise(1, 32, 48), stream_of(gpu)
    predictor.enqueue(gpu.array(frames), stream)  # nobody keeps what it returns
    gc.collect()
    assert gpu.trt._contexts[0]._runs == 1
    depth = predictor.enqueue(gpu.array(frames, offset=1), stream)
    del predictor
    gc.collect()
    assert gpu.trt._contexts[0]._runs == 2
    np.testing.assert_allclose(depth.numpy(), mean(frames), atol=1e-6)


def test_addresses_that_tensorrt_cant_take_are_copied_on_the_device(machine: Any) -> None:
    gpu, predictor = machine
    frames, stream = noise(1, 32, 48), stream_of(gpu)
    out = gpu.array(np.zeros((1, 32, 48), np.float32), offset=4)
    predictor.enqueue(gpu.array(frames, offset=3), stream, out)
    gpu.driver.cuStreamSynchronize(stream)
    np.testing.assert_allclose(out.numpy(), mean(frames), atol=1e-6)


def test_the_stream_waits_for_the_frames_producer(machine: Any) -> None:
    gpu, predictor = machine
    frames, producer, stream = noise(1, 32, 48), stream_of(gpu), stream_of(gpu)
    source, given = gpu.array(frames), gpu.array(np.zeros_like(frames))
    gpu.driver.cuMemcpyDtoDAsync(given.pointer, source.pointer, frames.nbytes, producer)
    given.changes["stream"] = producer
    depth = predictor.enqueue(given, stream)
    np.testing.assert_allclose(depth.numpy(), mean(frames), atol=1e-6)


@pytest.mark.parametrize("named", [True, False])
def test_a_picture_on_the_gpu_gives_depth_there(machine: Any, named: bool) -> None:
    """Finished when the call returns, though its producer was still at work, named or not."""
    gpu, predictor = machine
    image, producer = noise(32, 48), stream_of(gpu)
    source, given = gpu.array(image), gpu.array(np.zeros_like(image))
    gpu.driver.cuMemcpyDtoDAsync(given.pointer, source.pointer, image.nbytes, producer)
    if named:
        given.changes["stream"] = producer
    depth = predictor(given)
    assert depth.shape == (32, 48)
    np.testing.assert_allclose(gpu.read(depth), mean(image), atol=1e-6)


class Torch:
    cuda_stream = 0


class Cupy:
    ptr = 0


class CudaCore:
    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, 0


@pytest.mark.parametrize("stream", [0, Torch(), Cupy(), CudaCore()])
def test_streams_of_other_libraries(machine: Any, stream: Any) -> None:
    gpu, predictor = machine
    frames = noise(1, 32, 48)
    depth = predictor.enqueue(gpu.array(frames), stream)
    assert depth.__cuda_array_interface__["stream"] == 1  # the legacy stream's name there
    np.testing.assert_allclose(depth.numpy(), mean(frames), atol=1e-6)


FRAMES = np.zeros((1, 32, 48, 3), np.uint8)
BAD = [
    (FRAMES, "ndarray is not on a GPU"),
    ("photo.jpg", "str is not on a GPU"),
    ({"typestr": "<f4"}, "takes frames uint8 .*not float32"),
    ({"shape": (32, 48, 3)}, r"takes frames uint8 \[1, 32, 48, 3\], not uint8 \[32, 48, 3\]"),
    ({"shape": (1, 32, 40, 3)}, r"not uint8 \[1, 32, 40, 3\]"),
    ({"strides": (9216, 288, 6, 1)}, "make them C-contiguous"),
    ({"strides": (4608, 3, 96, 1)}, "make them C-contiguous"),
    ({"data": None}, "broken __cuda_array_interface__"),
    ("other device", "array is on cuda:1 and the engine on cuda:0"),
    ("unknown", "memory that CUDA doesn't know and the engine on cuda:0"),
]


@pytest.mark.parametrize(("frames", "rule"), BAD)
def test_what_the_engine_cant_read_is_refused(machine: Any, frames: Any, rule: str) -> None:
    gpu, predictor = machine
    given = gpu.array(FRAMES)
    if isinstance(frames, dict):
        given.changes = frames
    elif isinstance(frames, str) and frames != "photo.jpg":
        gpu.driver._places[given.pointer] = 1 if frames == "other device" else None
    else:
        given = frames
    with pytest.raises(ImageError, match=rule):
        predictor.enqueue(given, stream_of(gpu))
    assert gpu.trt._contexts[0]._runs == 0


@pytest.mark.parametrize(
    "changes",
    [{"shape": (32, 48)}, {"typestr": "<f2"}, {"strides": (1, 4, 128)}, {"data": (256, True)}],
)
def test_an_out_that_cant_be_written_is_refused(machine: Any, changes: dict[str, Any]) -> None:
    gpu, predictor = machine
    out = gpu.array(np.zeros((1, 32, 48), np.float32))
    out.changes = changes
    with pytest.raises(ImageError, match=r"out is to be a writable, C-contiguous float32 \[1, 32"):
        predictor.enqueue(gpu.array(FRAMES), stream_of(gpu), out)


def test_a_stream_under_capture_and_what_is_no_stream_are_refused(machine: Any) -> None:
    gpu, predictor = machine
    stream = stream_of(gpu)
    gpu.driver.cuStreamBeginCapture(stream, None)
    with pytest.raises(UsageError, match="being captured"):
        predictor.enqueue(gpu.array(FRAMES), stream)
    with pytest.raises(UsageError, match=r"a stream is a CUstream's number or .* not str"):
        predictor.enqueue(gpu.array(FRAMES), "stream")


def test_no_room_for_the_depth(machine: Any) -> None:
    gpu, predictor = machine
    frames = gpu.array(FRAMES)
    gpu.driver._free_bytes = 100
    with pytest.raises(BackendError, match=r"no room for .* device memory: cuda:0 is out of mem"):
        predictor.enqueue(frames, stream_of(gpu))


def test_other_backends_say_what_to_use(gpu: Any, mean_bundle: MakeBundle) -> None:
    predictor: Predictor = load(mean_bundle(1, 32, 48), "onnxruntime")
    for call in (
        lambda: predictor.enqueue(gpu.array(FRAMES), 0),
        lambda: predictor(gpu.array(FRAMES[0])),
    ):
        with pytest.raises(
            UsageError, match=r"onnxruntime takes host arrays only: .* tensorrt-rtx"
        ):
            call()


class DlTensor(ctypes.Structure):
    """DLPack 0.8: https://github.com/dmlc/dlpack/blob/v0.8/include/dlpack/dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class DlpackFrames:
    """An array with DLPack alone, on the GPU."""

    def __init__(self, pointer: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.sizes = (ctypes.c_int64 * len(shape))(*shape)
        self.steps = (ctypes.c_int64 * len(shape))(*strides)
        self.tensor = DlTensor(
            pointer, 2, 0, len(shape), 1, 8, 1, self.sizes, self.steps, 0, None, None
        )
        self.asked_for: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        self.asked_for.append(stream)
        capsule = ctypes.pythonapi.PyCapsule_New
        capsule.restype, capsule.argtypes = (
            ctypes.py_object,
            (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        return capsule(ctypes.addressof(self.tensor), b"dltensor", None)


def test_dlpack_passes_the_pointer_and_the_stream(machine: Any) -> None:
    """Read by the real cuda-core; PyTorch's order of streams rests on the number it is given."""
    gpu, predictor = machine
    frames = noise(1, 32, 48)
    given = DlpackFrames(gpu.array(frames).pointer, (1, 32, 48, 3), (4608, 144, 3, 1))
    stream = stream_of(gpu)
    depth = predictor.enqueue(given, stream)
    assert gpu.trt._contexts[0]._addresses["image"] == given.tensor.data
    np.testing.assert_allclose(depth.numpy(), mean(frames), atol=1e-6)
    predictor.enqueue(given, 0)
    assert given.asked_for == [stream, 1]
    turned = DlpackFrames(gpu.array(frames).pointer, (1, 32, 48, 3), (4608, 3, 96, 1))
    with pytest.raises(ImageError, match="C-contiguous"):
        predictor.enqueue(turned, stream)
