"""The fakes against the real libraries, and what the real ones do without a GPU."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx as trt
from cuda.bindings import driver

from apdepth_deploy.errors import BackendError
from apdepth_deploy.runtime.engines import cuda
from apdepth_deploy.runtime.engines.tensorrt import engine as tensorrt_engine

Add = Callable[..., Path]
MakeBundle = Callable[..., Path]


def test_the_driver_has_every_call_with_as_many_arguments(gpu: Any) -> None:
    used = set(re.findall(r"\bcu[A-Z]\w+", inspect.getsource(cuda)))
    fakes = {name for name in dir(type(gpu.driver)) if name.startswith("cu")}
    assert used - {"cuInit"} <= fakes and len(used) > 25
    for name in fakes:
        signature = getattr(driver, name).__doc__.splitlines()[0]
        expected = signature.partition("(")[2].rstrip(")").split(",")
        parameters = list(inspect.signature(getattr(type(gpu.driver), name)).parameters)[1:]
        assert len(parameters) == len([part for part in expected if part.strip()]), signature


def test_the_drivers_numbers_are_those_used() -> None:
    assert driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY == cuda._OUT_OF_MEMORY
    assert driver.CUevent_flags.CU_EVENT_DISABLE_TIMING == cuda._NO_TIMING
    assert driver.CUstream_flags.CU_STREAM_NON_BLOCKING == cuda._NON_BLOCKING
    assert int(driver.CUstream(4711)) == 4711 and int(driver.CUdeviceptr(256)) == 256


def test_the_fake_tensorrt_has_no_names_of_its_own(
    gpu: Any, mean_bundle: MakeBundle, add_engines: Add
) -> None:
    """What runs on the fakes can only use what TensorRT has."""
    from apdepth_deploy import load

    load(add_engines(mean_bundle(1, 32, 48)), "tensorrt-rtx")
    context = gpu.trt._contexts[0]
    pairs = [
        (gpu.trt.Runtime(None), trt.Runtime),
        (context._engine, trt.ICudaEngine),
        (context, trt.IExecutionContext),
        (context._config, trt.IRuntimeConfig),
        (context._config._cache, trt.IRuntimeCache),
    ]
    for fake, real in pairs:
        own = {name for name in dir(fake) if not name.startswith("_")}
        assert own and own <= set(dir(real)), real


def test_the_real_log_is_kept_and_its_cause_comes_first() -> None:
    log = tensorrt_engine._logger(trt)
    log.clear()
    assert trt.Runtime(log).deserialize_cuda_engine(b"no plan at all, but long enough " * 9) is None
    assert "magicTag" in log.errors[0]


def test_without_a_driver_there_is_a_line() -> None:
    """On a machine with one, the device opens."""
    if cuda.load_driver().__name__ and not _has_driver():
        with pytest.raises(BackendError, match="the NVIDIA driver can't be loaded"):
            cuda.Device(0)
    else:
        assert cuda.Device(0).driver_version() >= 12000


def _has_driver() -> bool:
    from apdepth_deploy.machine.devices import nvidia_gpus

    return bool(nvidia_gpus())
