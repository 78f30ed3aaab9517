"""NVIDIA GPUs by name: their compute capability, and what they can do at best.

Peaks are dense fp16 tensor-core rates with float32 accumulation, at the boost clock of NVIDIA's own
cards, and memory bandwidth. Sources, named at each group:

[T] Turing architecture white paper, [GA100] A100 white paper and data sheets, [GA102] GA102 white
paper v2, [Ada] Ada architecture white paper, [H] H100 and H200 data sheets, [B] RTX Blackwell
architecture white paper, [D] the card's data sheet, [P] cores and boost clock of the product page,
at the operations per core and clock that the generation's white paper has for its siblings.

A data sheet's figure "with sparsity" is halved. What is not stated there is None: a driver still
tells the memory's bandwidth (``devices.gpu_facts``).
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
    # [T], Founders Edition.
    Gpu("RTX 2060", "7.5", None, 336.0),
    Gpu("RTX 2070", "7.5", 31.5, 448.0),
    Gpu("RTX 2080", "7.5", 42.4, 448.0),
    Gpu("RTX 2080 Ti", "7.5", 56.9, 616.0),
    # [T], [D].
    Gpu("T4", "7.5", 65.0, 320.0),
    Gpu("Quadro RTX 4000", "7.5", None, 416.0),
    Gpu("Quadro RTX 5000", "7.5", 89.2, 448.0),
    Gpu("Quadro RTX 6000", "7.5", 130.5, 672.0),
    # [GA102], [P]. No bandwidth where cards of one name differ in it, and for the 3050 nothing.
    Gpu("RTX 3050", "8.6"),
    Gpu("RTX 3060", "8.6", 25.5),
    Gpu("RTX 3060 Ti", "8.6", 32.4),
    Gpu("RTX 3070", "8.6", 40.6, 448.0),
    Gpu("RTX 3070 Ti", "8.6", 43.5, 608.0),
    Gpu("RTX 3080", "8.6", 59.5),  # of the 10 GB card; the later 12 GB one has 3 % more
    Gpu("RTX 3080 Ti", "8.6", 68.2, 912.0),
    Gpu("RTX 3090", "8.6", 71.0, 936.0),
    Gpu("RTX 3090 Ti", "8.6", 80.0, 1008.0),
    # [GA102], [D].
    Gpu("RTX A2000", "8.6", 31.9, 288.0),
    Gpu("RTX A4000", "8.6", 76.7, 448.0),
    Gpu("RTX A4500", "8.6", 94.6, 640.0),
    Gpu("RTX A5000", "8.6", 111.1, 768.0),
    Gpu("RTX A5500", "8.6", 136.4, 768.0),
    Gpu("RTX A6000", "8.6", 154.8, 768.0),
    Gpu("A2", "8.6", 18.0, 200.0),
    Gpu("A10", "8.6", 125.0, 600.0),
    Gpu("A16", "8.6"),
    Gpu("A40", "8.6", 149.7, 696.0),
    # [GA100], [D]: the memory is told apart by the driver's name.
    Gpu("A30", "8.0", 165.0, 933.0),
    Gpu("A100", "8.0", 312.0),
    Gpu("A100 SXM4 40GB", "8.0", 312.0, 1555.0),
    Gpu("A100 SXM4 80GB", "8.0", 312.0, 2039.0),
    Gpu("A100 PCIE 40GB", "8.0", 312.0, 1555.0),
    Gpu("A100 80GB PCIe", "8.0", 312.0, 1935.0),
    # [Ada], [P]. The 4070 is sold with two kinds of memory.
    Gpu("RTX 4050", "8.9"),
    Gpu("RTX 4060", "8.9", 30.2, 272.0),
    Gpu("RTX 4060 Ti", "8.9", 44.1, 288.0),
    Gpu("RTX 4070", "8.9", 58.3),
    Gpu("RTX 4070 SUPER", "8.9", 71.0, 504.0),
    Gpu("RTX 4070 Ti", "8.9", 80.2, 504.0),
    Gpu("RTX 4070 Ti SUPER", "8.9", 88.2, 672.0),
    Gpu("RTX 4080", "8.9", 97.5, 716.8),
    Gpu("RTX 4080 SUPER", "8.9", 104.4, 736.0),
    Gpu("RTX 4090", "8.9", 165.2, 1008.0),
    # [Ada], [D].
    Gpu("L4", "8.9", 121.0, 300.0),
    Gpu("L40", "8.9", 181.0, 864.0),
    Gpu("L40S", "8.9", 362.0, 864.0),
    Gpu("RTX 2000 Ada", "8.9", 48.0, 224.0),
    Gpu("RTX 4000 Ada", "8.9", None, 360.0),
    Gpu("RTX 4500 Ada", "8.9", 158.5, 432.0),
    Gpu("RTX 5000 Ada", "8.9", 261.1, 576.0),
    Gpu("RTX 6000 Ada", "8.9", 364.2, 960.0),
    # [B], [P].
    Gpu("RTX 5050", "12.0", 26.3, 320.0),
    Gpu("RTX 5060", "12.0", 38.4, 448.0),
    Gpu("RTX 5060 Ti", "12.0", 47.4, 448.0),
    Gpu("RTX 5070", "12.0", 61.7, 672.0),
    Gpu("RTX 5070 Ti", "12.0", 87.9, 896.0),
    Gpu("RTX 5080", "12.0", 112.6, 960.0),
    Gpu("RTX 5090", "12.0", 209.5, 1792.0),
    *(Gpu(f"RTX PRO {n} Blackwell", "12.0") for n in ("4000", "4500", "5000", "6000")),
    # [D]; their tensor rates are stated for fp4 or with sparsity only.
    Gpu("GB10", "12.1", None, 273.0),
    Gpu("Jetson AGX Orin", "8.7", None, 204.8),
    Gpu("Jetson Orin NX", "8.7", None, 102.4),
    Gpu("Jetson Orin Nano", "8.7"),
    Gpu("Jetson Thor", "11.0", None, 273.0),
    # [H]: "80GB HBM3" is what drivers call the SXM module.
    Gpu("H100", "9.0"),
    Gpu("H100 80GB HBM3", "9.0", 989.4, 3352.0),
    Gpu("H100 PCIe", "9.0", 756.0, 2000.0),
    Gpu("H100 NVL", "9.0", 835.0, 3900.0),
    Gpu("H200", "9.0", 989.4, 4800.0),
    Gpu("H200 NVL", "9.0", 835.0, 4800.0),
    Gpu("GH200", "9.0"),
    *(Gpu(n, "10.0") for n in ("B100", "B200")),
)

#: Words that drivers and people put beside a product's name, and that make it no other product.
_ADORNMENTS = {"geforce", "tesla", "generation", "graphics", "gpu"}


def find_gpu(name: str) -> Gpu | None:
    """The product that a driver's or a person's ``name`` means: "NVIDIA GeForce RTX 4090".

    A variant ("RTX 4090 Laptop GPU", "RTX 2080 SUPER", a MIG slice) has the compute capability of
    its product, and none of its peaks.
    """
    words = _words(name)
    fits = [gpu for gpu in GPUS if _contains(words, _words(gpu.name))]
    if not fits:
        return None
    gpu = max(fits, key=lambda gpu: len(_words(gpu.name)))
    if set(words) - set(_words(gpu.name)) - _ADORNMENTS:
        return dataclasses.replace(gpu, tflops=None, gb_s=None)
    return gpu


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


#: Before 12.0, of which every later one is a variant so far.
_RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9")


def rtx_supports(compute_capability: str) -> bool:
    """Whether TensorRT for RTX runs on GPUs of a compute capability such as "8.6".

    Those of graphics cards, their server siblings (7.5, 8.0, 8.6, 8.9) and 12.0 or later. It builds
    on any GPU, and on Hopper (9.0) refuses what it has built; data-centre Blackwell (10.x), Jetson
    Orin (8.7) and Thor (11.0) are in no release's support matrix either:
    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix.html
    """
    major = int(compute_capability.partition(".")[0])
    return compute_capability in _RTX_CAPABILITIES or major >= 12


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
