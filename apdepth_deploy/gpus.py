"""NVIDIA GPUs by name: their compute capability, and what they can do at best.

Peaks are dense tensor-core rates with float32 accumulation, as NVIDIA states them at boost clock.
"""

from __future__ import annotations

import dataclasses
import re

from apdepth_deploy.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One product.

    Attributes:
        compute_capability: "major.minor".
        tflops: dense fp16/bf16 tensor-core TFLOP/s, float32 accumulation; None where not stated.
        gb_s: memory bandwidth in 1e9 bytes/s; None where not stated.
    """

    name: str
    compute_capability: str
    tflops: float | None = None
    gb_s: float | None = None


#: Compute capabilities: https://developer.nvidia.com/cuda-gpus.
GPUS = (
    *(Gpu(f"RTX {n}", "7.5") for n in ("2060", "2070", "2080", "2080 Ti")),
    *(Gpu(n, "7.5") for n in ("T4", "Quadro RTX 4000", "Quadro RTX 5000", "Quadro RTX 6000")),
    *(Gpu(f"RTX {n}", "8.6") for n in ("3050", "3060", "3060 Ti", "3070", "3070 Ti")),
    *(Gpu(f"RTX {n}", "8.6") for n in ("3080", "3080 Ti", "3090", "3090 Ti")),
    *(Gpu(f"RTX A{n}", "8.6") for n in ("2000", "4000", "4500", "5000", "5500", "6000")),
    *(Gpu(n, "8.6") for n in ("A2", "A10", "A16", "A40")),
    *(Gpu(n, "8.0") for n in ("A30", "A100")),
    *(Gpu(f"RTX {n}", "8.9") for n in ("4050", "4060", "4060 Ti", "4070", "4070 Ti")),
    *(Gpu(f"RTX {n}", "8.9") for n in ("4070 SUPER", "4070 Ti SUPER", "4080", "4080 SUPER")),
    *(Gpu(n, "8.9") for n in ("RTX 4090", "L4", "L40", "L40S")),
    *(Gpu(f"RTX {n} Ada", "8.9") for n in ("2000", "4000", "4500", "5000", "6000")),
    *(Gpu(f"RTX {n}", "12.0") for n in ("5050", "5060", "5060 Ti", "5070", "5070 Ti")),
    *(Gpu(f"RTX {n}", "12.0") for n in ("5080", "5090")),
    *(Gpu(f"RTX PRO {n} Blackwell", "12.0") for n in ("4000", "4500", "5000", "6000")),
    Gpu("GB10", "12.1"),
    *(Gpu(f"Jetson {n}", "8.7") for n in ("AGX Orin", "Orin NX", "Orin Nano")),
    Gpu("Jetson Thor", "11.0"),
    *(Gpu(n, "9.0") for n in ("H100", "H200", "GH200")),
    *(Gpu(n, "10.0") for n in ("B100", "B200")),
)


def find_gpu(name: str) -> Gpu | None:
    """The product that a driver's or a person's ``name`` means: "NVIDIA GeForce RTX 4090"."""
    words = _words(name)
    fits = [gpu for gpu in GPUS if _contains(words, _words(gpu.name))]
    return max(fits, key=lambda gpu: len(_words(gpu.name)), default=None)


def compute_capability(text: str) -> str:
    """ "sm86", "86", "8.6" or a product's name -> "8.6". UsageError for anything else."""
    number = re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", text.strip().lower())
    if number:
        return f"{number[1]}.{number[2]}"
    gpu = find_gpu(text)
    if gpu is None:
        raise UsageError(
            f"unknown GPU {text!r}: give its compute capability, such as sm89 or 8.9, "
            'or a product such as "RTX 5090"'
        )
    return gpu.compute_capability


def sm(capability: str) -> str:
    """ "8.6" -> "sm86"."""
    return "sm" + capability.replace(".", "")


def _words(name: str) -> list[str]:
    """ "RTX5070Ti" and "GeForce RTX 5070 Ti" end alike: rtx, 5070, ti."""
    spaced = re.sub(r"(?<=[a-z])(?=\d{4})|(?<=\d{4})(?=[a-z])", " ", name.lower())
    spaced = re.sub(r"\ba (?=\d{4})", "a", spaced)
    return [word for word in re.split(r"[^a-z0-9]+", spaced) if word not in ("", "nvidia")]


def _contains(words: list[str], part: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))
