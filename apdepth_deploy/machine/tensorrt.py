"""The two TensorRTs, by one interface: which is installed, what it knows, what is known of it."""

from __future__ import annotations

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


def known_bad(target: str, version: str, capabilities: tuple[str, ...] = ()) -> str | None:
    """What is known to go wrong, silently, with a version on a GPU; None where nothing is.

    Sources: NVIDIA/TensorRT issues 4419, 4723, 4742 (ViT output wrong on 10.3 to 10.7) and 4837
    (half-precision fused attention wrong on compute capability 12.0, seen up to 10.16.1).
    """
    if target != "tensorrt":
        return None
    major, minor = (int(part) for part in version.split(".")[:2])
    if major == 10 and 3 <= minor <= 7:
        return f"TensorRT {version} gives wrong results for vision transformers: use 10.8 or later"
    if major == 10 and minor <= 16 and "12.0" in capabilities:
        return (
            f"TensorRT {version} can give wrong attention in fp16 and bf16 on compute capability "
            "12.0: use 11 or later, or TensorRT for RTX"
        )
    return None
