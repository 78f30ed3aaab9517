"""Depth from TensorRT engines: the right one, from any thread, without a copy too many."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.errors import BackendError, ImageError
from apdepth_deploy.runtime.engines.tensorrt.backend import TrtChain
from apdepth_deploy.runtime.engines.tensorrt.choice import choose_engines

Add = Callable[..., Path]
MakeBundle = Callable[..., Path]


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def mean(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(image.astype(np.float64).mean(axis=-1) / 255.0)


def test_an_engine_gives_the_depth_that_onnxruntime_gives(
    gpu: Any, micro: Path, add_engines: Add, photo: NDArray[np.uint8]
) -> None:
    expected = load(micro, "onnxruntime")(photo)
    predictor = load(add_engines(micro), "tensorrt-rtx")
    assert (predictor.backend, predictor.device) == ("tensorrt-rtx", "cuda:0")
    assert (predictor.precision, predictor.frame_size) == ("fp32", (64, 96))
    for _ in range(3):
        np.testing.assert_array_equal(predictor(photo), expected)


def test_seams_of_staged_engines_stay_on_the_device(
    gpu: Any, micro: Path, add_engines: Add
) -> None:
    frames = noise(1, 64, 96)
    expected = load(micro, "onnxruntime")(frames[0])
    bundle = Bundle.open(add_engines(micro, "staged"))
    choice = choose_engines(bundle, "tensorrt-rtx")
    chain = TrtChain(bundle, choice)
    gpu.driver._calls.clear()
    finished: list[str] = []
    np.testing.assert_array_equal(chain.run(frames)["decoder"][0], expected)
    assert gpu.driver._calls.count("cuMemcpyHtoDAsync") == 1
    assert gpu.driver._calls.count("cuMemcpyDtoHAsync") == 1
    assert set(chain.run(frames, finished.append)) == {"decoder"}
    assert finished == ["prior", "encoder", "unet", "decoder"]
    probed = TrtChain(bundle, choice, probe=True).run(frames)
    assert set(probed) == {"prior", "encoder", "unet", "decoder"}
    assert probed["encoder"].shape[0] == 1 and np.isfinite(probed["encoder"]).all()


def test_rtx_captures_by_itself_and_compiles_for_the_shapes_at_hand(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor = load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx")
    for _ in range(3):
        predictor(noise(32, 48))
    assert "cuStreamBeginCapture" not in gpu.driver._calls
    config = gpu.trt._contexts[0]._config
    assert config.cuda_graph_strategy == gpu.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    specialization = config.dynamic_shapes_kernel_specialization_strategy
    assert specialization == gpu.trt.DynamicShapesKernelSpecializationStrategy.EAGER
    assert config._cache is not None


def test_standard_tensorrt_is_captured_after_a_warm_up(
    standard_gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    """Warm-up, then capture and launch, then launches alone; every time this frame's depth."""
    folder = add_engines(mean_bundle(1, 32, 48), target="tensorrt")
    predictor, calls = load(folder, "tensorrt"), standard_gpu.driver._calls
    context = standard_gpu.trt._contexts[0]
    steps = []
    for seed in range(4):
        calls.clear()
        frame = noise(32, 48, seed=seed)
        np.testing.assert_allclose(predictor(frame), mean(frame), atol=1e-6)
        wanted = ("cuMemcpyHtoDAsync", "cuStreamBeginCapture", "cuStreamEndCapture")
        wanted += ("cuGraphInstantiate", "cuGraphLaunch", "cuMemcpyDtoHAsync")
        steps.append([name for name in calls if name in wanted])
    assert steps[0] == ["cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync"]
    assert steps[1][1:-1] == [
        "cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuGraphLaunch",
    ]  # fmt: skip
    assert steps[2] == steps[3] == ["cuMemcpyHtoDAsync", "cuGraphLaunch", "cuMemcpyDtoHAsync"]
    assert context._runs == 4


def test_engines_that_cant_be_captured_run_all_the_same(
    standard_gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor = load(add_engines(mean_bundle(1, 32, 48), target="tensorrt"), "tensorrt")
    standard_gpu.driver._refuse["cuGraphInstantiate"] = standard_gpu.driver.CUresult(801)
    for seed in range(3):
        frame = noise(32, 48, seed=seed)
        np.testing.assert_allclose(predictor(frame), mean(frame), atol=1e-6)
    assert standard_gpu.driver._calls.count("cuStreamBeginCapture") == 1


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_ranges_follow_each_picture(
    target: str, request: pytest.FixtureRequest, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    """A graph captured for one size must not run for another."""
    request.getfixturevalue("gpu" if target == "tensorrt-rtx" else "standard_gpu")
    folder = mean_bundle([1, 1, 2], [32, 48, 64], [32, 48, 96])
    predictor = load(add_engines(folder, target=target), target)
    assert predictor.frame_size is None
    sizes = ((32, 48), (32, 48), (32, 48), (64, 96), (64, 96), (32, 32), (64, 96))
    for seed, size in enumerate(sizes):
        frame = noise(*size, seed=seed)
        np.testing.assert_allclose(predictor(frame), mean(frame), atol=1e-6)


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def ranged(request: pytest.FixtureRequest, mean_bundle: MakeBundle, add_engines: Add) -> Any:
    """(Gpu, predictor for frames of 32x32 to 64x96)."""
    gpu = request.getfixturevalue("gpu" if request.param == "tensorrt-rtx" else "standard_gpu")
    folder = mean_bundle([1, 1, 2], [32, 48, 64], [32, 48, 96])
    return gpu, load(add_engines(folder, target=request.param), request.param)


def check_depth(predictor: Any, *sizes: tuple[int, int]) -> None:
    for seed, size in enumerate(sizes):
        frame = noise(*size, seed=seed)
        np.testing.assert_allclose(predictor(frame), mean(frame), atol=1e-6)


def test_going_back_to_a_size_costs_nothing(ranged: Any) -> None:
    """Two cameras of different sizes: a CUDA graph for each, and no compiled kernel kept anew."""
    gpu, predictor = ranged
    check_depth(predictor, *[(32, 48), (64, 96)] * 2)
    gpu.driver._calls.clear()
    before = [context._reshaped for context in gpu.trt._contexts]
    check_depth(predictor, *[(32, 48), (64, 96)] * 3)
    assert [context._reshaped for context in gpu.trt._contexts] == before and len(before) == 2
    assert "cuStreamBeginCapture" not in gpu.driver._calls
    cache = predictor.chain._engines[0].cache
    assert gpu.driver._calls.count("cuGraphLaunch") == (6 if cache is None else 0)
    assert cache is None or cache._cache._serialized == 2


def test_the_size_that_was_longest_unused_goes(ranged: Any) -> None:
    gpu, predictor = ranged
    sizes = [(32, 32), (32, 48), (48, 32), (48, 48), (64, 64)]
    check_depth(predictor, *sizes)  # the last in place of the first
    reshaped = sum(context._reshaped for context in gpu.trt._contexts)
    check_depth(predictor, *sizes[1:])
    assert sum(context._reshaped for context in gpu.trt._contexts) == reshaped
    check_depth(predictor, sizes[0])
    assert sum(context._reshaped for context in gpu.trt._contexts) == reshaped + 1
    assert len(gpu.trt._contexts) == 4
    cache = predictor.chain._engines[0].cache
    assert cache is None or cache._cache._serialized == 5


def test_without_room_one_context_serves_every_size(ranged: Any) -> None:
    gpu, predictor = ranged
    check_depth(predictor, (32, 48))
    gpu.trt._fails["context"] = "Error Code 2: OutOfMemory"
    check_depth(predictor, *[(64, 96), (32, 48)] * 2)
    assert len(gpu.trt._contexts) == 1
    assert gpu.trt._asked == 2  # a second one in vain, once


def test_a_size_that_is_refused_takes_no_contexts(ranged: Any) -> None:
    gpu, predictor = ranged
    check_depth(predictor, (32, 48))
    gpu.trt._fails["shape"] = "why"
    for _ in range(3):
        with pytest.raises(BackendError, match=r"refuses image \[1, 64, 96, 3\] \(why\)"):
            predictor(noise(64, 96))
    gpu.trt._fails.clear()
    check_depth(predictor, (64, 96), (32, 48))
    assert len(gpu.trt._contexts) == 2


def test_every_thread_has_a_context_of_its_own(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor = load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx")
    before, wrong = gpu.driver._free_bytes, []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for turn in range(8):
            frame = noise(32, 48, seed=10 * number + turn)
            if not np.allclose(predictor(frame), mean(frame), atol=1e-6):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(gpu.trt._contexts) == 5  # the thread that loaded it has one, too
    assert all(len(context._threads) <= 1 for context in gpu.trt._contexts)
    gc.collect()
    assert gpu.driver._free_bytes == before  # a thread's buffers go with it


def test_everything_is_freed(gpu: Any, mean_bundle: MakeBundle, add_engines: Add) -> None:
    total = gpu.driver._free_bytes
    with load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx") as predictor:
        predictor(noise(32, 48))
        assert gpu.driver._free_bytes < total
    assert gpu.driver._free_bytes == total
    predictor(noise(32, 48))  # takes it again
    del predictor
    gc.collect()
    assert gpu.driver._free_bytes == total


def test_a_full_gpu_is_said_in_a_line(gpu: Any, mean_bundle: MakeBundle, add_engines: Add) -> None:
    """What was taken before is given back, and smaller work goes on."""
    folder = add_engines(mean_bundle(1, 32, 48))
    gpu.driver._free_bytes = 12_000
    with pytest.raises(BackendError, match=r"no room for 0\.0 MB of .*memory.*are free on cuda:0"):
        load(folder, "tensorrt-rtx")
    gc.collect()
    assert gpu.driver._free_bytes == 12_000
    gpu.driver._free_bytes = 1 << 20
    load(folder, "tensorrt-rtx")(noise(32, 48))


@pytest.mark.parametrize("step", ["load", "context"])
def test_tensorrt_out_of_memory(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, step: str
) -> None:
    folder = add_engines(mean_bundle(1, 32, 48), weights_bytes=1_900_000_000)
    gpu.trt._fails[step] = "Error Code 2: OutOfMemory (Requested size was 1900000000 bytes.)"
    with pytest.raises(BackendError, match=r"OutOfMemory .*needs about 1900 MB; .* are free") as e:
        load(folder, "tensorrt-rtx")
    assert "\n" not in str(e.value) and "echo" not in str(e.value)


def test_a_failed_run_is_an_error_and_the_next_one_is_right(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    predictor, frame = load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx"), noise(32, 48)
    gpu.trt._fails["run"] = "Error Code 1: Cuda Runtime (an illegal memory access)"
    with pytest.raises(BackendError, match=r"fused\.fp32.* failed to run \(Error Code 1: Cuda"):
        predictor(frame)
    gpu.trt._fails.clear()
    gpu.driver._refuse["cuStreamSynchronize"] = gpu.driver.CUresult(719)
    with pytest.raises(BackendError, match=r"cuStreamSynchronize failed: what CUDA_ERROR_LAUNCH"):
        predictor(frame)
    gpu.driver._refuse.clear()
    np.testing.assert_allclose(predictor(frame), mean(frame), atol=1e-6)


@pytest.mark.parametrize("step", ["cuEventRecord", "cuMemcpyDtoDAsync", "cuMemcpyDtoHAsync"])
def test_a_call_that_fails_leaves_nothing_queued(
    standard_gpu: Any, mean_bundle: MakeBundle, add_engines: Add, step: str
) -> None:
    """Its memory may be freed, and its context used on another stream."""
    folder = add_engines(mean_bundle(1, 32, 48), target="tensorrt")
    predictor, driver = load(folder, "tensorrt"), standard_gpu.driver
    stream = int(driver.cuStreamCreate(1)[1])
    given = standard_gpu.array(noise(1, 32, 48))
    crooked = standard_gpu.array(np.zeros((1, 32, 48), np.float32), offset=4)
    driver._refuse[step] = driver.CUresult(719)
    with pytest.raises(BackendError, match=step):
        predictor(noise(32, 48))
        predictor.enqueue(given, stream, crooked)
    driver._refuse.clear()
    assert all(fake.done == len(fake.queue) for fake in driver._streams.values())
    check_depth(predictor, (32, 48))


def test_only_the_run_that_failed_gives_the_reason(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was said before nor what another thread is told."""
    predictor = load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx")
    gpu.trt._fails["run"] = "Error Code 1: the first time"
    with pytest.raises(BackendError, match="the first time"):
        predictor(noise(32, 48))

    def fail(log: Any, step: str) -> bool:
        words = (gpu.trt.ILogger.Severity.ERROR, "another thread's")
        thread = threading.Thread(target=log.log, args=words)
        thread.start()
        thread.join()
        return step == "run"

    monkeypatch.setattr(gpu.trt, "_fail", fail)
    with pytest.raises(BackendError, match=r"failed to run \(no reason given\)"):
        predictor(noise(32, 48))


def test_frames_of_another_size_are_refused(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    bundle = Bundle.open(add_engines(mean_bundle(1, 32, 48)))
    chain = TrtChain(bundle, choose_engines(bundle, "tensorrt-rtx"))
    with pytest.raises(ImageError, match=r"takes frames uint8 \[1, 32, 48, 3\], not uint8 \[2, "):
        chain.run(noise(2, 32, 48))


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_what_profiling_asks_for(
    target: str, request: pytest.FixtureRequest, micro: Path, add_engines: Add
) -> None:
    gpu = request.getfixturevalue("gpu" if target == "tensorrt-rtx" else "standard_gpu")
    bundle = Bundle.open(add_engines(micro, "staged", target=target))
    chain = TrtChain(bundle, choose_engines(bundle, target))
    frames = noise(1, 64, 96)
    assert chain.device_seconds(frames, 3) == pytest.approx([0.0025] * 3)
    layers = chain.layer_seconds(frames, 2)
    assert layers is not None and len(layers) == 8
    assert layers[0] == ("prior/conv", pytest.approx(0.002))
    assert layers[-1] == ("decoder/norm", pytest.approx(0.001))
    assert all(c._config is None for c in gpu.trt._contexts[-4:])  # no capture: it hides layers
