"""The two TensorRTs, by one interface: which is installed, what it knows, what is known of it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import platform as _platform
import re
from types import ModuleType

from apdepth_deploy.errors import BackendError

#: Target (also the backend's name) -> (module, extra that installs it, short name in file names).
TARGETS = {
    "tensorrt-rtx": ("tensorrt_rtx", "rtx", "trtrtx"),
    "tensorrt": ("tensorrt", "tensorrt", "trt"),
}


def installed(target: str) -> bool:
    return importlib.util.find_spec(TARGETS[target][0]) is not None


def load_tensorrt(target: str) -> ModuleType:
    """Import TensorRT or TensorRT for RTX. Raises BackendError where it can't be."""
    module, extra, _ = TARGETS[target]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{target} is not installed: pip install 'apdepth-deploy[{extra}]'"
        ) from error
    except (ImportError, OSError, RuntimeError) as error:  # its library can't be loaded
        reason = " ".join(str(error).split())[:200]
        raise BackendError(f"{target} is installed but can't be loaded: {reason}") from error


def platform() -> str:
    """Operating system and processor as engines are marked with: "linux-x86_64"."""
    machine = _platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64")
    return f"{_platform.system().lower()}-{machine}"


def rtx_capabilities(trt: ModuleType) -> list[str]:
    """Compute capabilities that this TensorRT for RTX builds for, such as "8.6"."""
    names = [name for name in dir(trt.ComputeCapability) if re.fullmatch(r"SM\d+", name)]
    return [f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:]))]


@dataclasses.dataclass(frozen=True)
class Wrong:
    """A report of silently wrong results.

    Attributes:
        first, last: (major, minor) of the versions it was seen in, and what lies between.
        capabilities: GPUs it was seen on; () where the report doesn't tie it to some.
        what: which results; source: the report.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    capabilities: tuple[str, ...]
    what: str
    source: str


#: Of standard TensorRT, for what our graphs are made of. Its twin: ``runtime/cpp/src/choice.cpp``.
WRONG = (
    Wrong(
        (10, 3),
        (10, 7),
        (),
        "vision transformers and plain attention",
        "NVIDIA/TensorRT#4723, #4742, #4419, #4333, #4328",
    ),
    Wrong((10, 0), (10, 8), ("8.9",), "a U-Net, NaN", "NVIDIA/TensorRT#4351"),
    Wrong((10, 13), (10, 13), (), "group normalisation", "NVIDIA/TensorRT#4741"),
    Wrong(
        (10, 0),
        (10, 16),
        ("12.0",),
        "fused attention in half precision",
        "NVIDIA/TensorRT#4837, #4748, #4780",
    ),
    Wrong(
        (10, 14),
        (11, 1),
        ("12.0",),
        "an encoder with attention, in fp32 too",
        "NVIDIA/TensorRT#4822",
    ),
    Wrong(
        (10, 11),
        (11, 1),
        ("8.9", "12.0"),
        "a transformer for batches above 1, in every precision",
        "NVIDIA/TensorRT#4853",
    ),
    Wrong((11, 1), (11, 1), ("8.9", "12.0"), "a transformer in fp32", "NVIDIA/TensorRT#4813"),
    Wrong((11, 1), (11, 2), (), "a cubic resize", "NVIDIA/TensorRT#4846"),
    Wrong(
        (11, 2),
        (11, 2),
        (),
        "a convolution with a residual from a concatenation, in fp16",
        "NVIDIA/TensorRT#4854",
    ),
    Wrong(
        (11, 2),
        (11, 2),
        (),
        "what is scaled by its own minimum and maximum",
        "rerun-io/examples-monorepo#87, #88",
    ),
)


def known_bad(target: str, version: str, capabilities: tuple[str, ...] = ()) -> str | None:
    """Which results of a version were reported to be silently wrong on such GPUs; None: none.

    That is no praise for the others: only ``verify`` on the GPU itself tells.
    """
    if target != "tensorrt":
        return None
    number = tuple(int(part) for part in version.split(".")[:2])
    found = [
        f"{one.what} ({one.source})"
        for one in WRONG
        if one.first <= number <= one.last
        and (not one.capabilities or set(one.capabilities) & set(capabilities))
    ]
    if not found:
        return None
    return (
        f"TensorRT {version} was reported to give wrong results: {'; '.join(found)}. Verify here: "
        "`apdepth-deploy verify BUNDLE --backend tensorrt`"
    )
