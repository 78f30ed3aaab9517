"""GPUs by name: a wrong match would build for, or compare with, another card."""

from __future__ import annotations

import pytest

from apdepth_deploy.errors import UsageError
from apdepth_deploy.machine.gpus import GPUS, compute_capability, find_gpu, rtx_supports, sm


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("rtx4070ti", "RTX 4070 Ti"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("rtx a 6000", "RTX A6000"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM4 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
    ],
)
def test_a_driver_s_name_finds_its_card(said: str, name: str) -> None:
    gpu = find_gpu(said)
    assert gpu is not None and gpu.name == name
    assert gpu in GPUS  # peaks and all


@pytest.mark.parametrize("said", ["NVIDIA GeForce GTX 1080", "NVIDIA A10G", "", "RTX", "4090"])
def test_what_is_not_in_the_table_is_nobody(said: str) -> None:
    assert find_gpu(said) is None


@pytest.mark.parametrize(
    ("said", "capability"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "8.9"),
        ("NVIDIA GeForce RTX 4090 D", "8.9"),
        ("NVIDIA GeForce RTX 2080 SUPER", "7.5"),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", "7.5"),
        ("NVIDIA RTX A2000 12GB", "8.6"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0"),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "9.0"),
    ],
)
def test_a_variant_borrows_no_peaks(said: str, capability: str) -> None:
    """Less cores or other clocks: a fraction of the desktop card's peak would be wrong."""
    gpu = find_gpu(said)
    assert gpu is not None
    assert (gpu.compute_capability, gpu.tflops, gpu.gb_s) == (capability, None, None)


@pytest.mark.parametrize("said", ["sm89", "SM_89", "89", "8.9", " 8.9 ", "RTX 4090", "l4"])
def test_a_capability_is_said_in_many_ways(said: str) -> None:
    assert compute_capability(said) == "8.9"


def test_two_digits_before_the_point_work() -> None:
    assert (compute_capability("sm120"), sm("12.0"), sm("8.6")) == ("12.0", "sm120", "sm86")


def test_a_capability_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown GPU 'Radeon': give .*sm89"):
        compute_capability("Radeon")


def test_tensorrt_for_rtx_runs_on_graphics_cards_and_not_on_data_centre_chips() -> None:
    runs = {name: rtx_supports(find_gpu(name).compute_capability) for name in RUNS_RTX}
    assert runs == RUNS_RTX
    assert all(map(rtx_supports, ("12.1", "12.5", "13.0"))) and not rtx_supports("8.8")


RUNS_RTX = {
    **dict.fromkeys(("RTX 2080", "A100", "A10", "RTX 3090", "L4", "RTX 4090", "RTX 5090"), True),
    **dict.fromkeys(("GB10", "RTX PRO 6000 Blackwell"), True),
    **dict.fromkeys(("H100", "H200", "GH200", "B200", "Jetson AGX Orin", "Jetson Thor"), False),
}


#: (cores, boost MHz, operations of a core and clock on the tensor cores): GeForce cards run fp16
#: with float32 accumulation at half the rate of their chips, Turing's cores come with twice the
#: tensor throughput of Ampere's per core.
CORES = {
    "RTX 2070": (2304, 1710, 8),
    "RTX 2080": (2944, 1800, 8),
    "RTX 2080 Ti": (4352, 1635, 8),
    "T4": (2560, 1590, 16),
    "Quadro RTX 5000": (3072, 1815, 16),
    "Quadro RTX 6000": (4608, 1770, 16),
    "RTX 3060": (3584, 1777, 4),
    "RTX 3060 Ti": (4864, 1665, 4),
    "RTX 3070": (5888, 1725, 4),
    "RTX 3070 Ti": (6144, 1770, 4),
    "RTX 3080": (8704, 1710, 4),
    "RTX 3080 Ti": (10240, 1665, 4),
    "RTX 3090": (10496, 1695, 4),
    "RTX 3090 Ti": (10752, 1860, 4),
    "RTX A2000": (3328, 1200, 8),
    "RTX A4000": (6144, 1560, 8),
    "RTX A4500": (7168, 1650, 8),
    "RTX A5000": (8192, 1695, 8),
    "RTX A5500": (10240, 1665, 8),
    "RTX A6000": (10752, 1800, 8),
    "A2": (1280, 1770, 8),
    "A10": (9216, 1695, 8),
    "A40": (10752, 1740, 8),
    "A30": (3584, 1440, 32),
    "A100": (6912, 1410, 32),
    "RTX 4060": (3072, 2460, 4),
    "RTX 4060 Ti": (4352, 2535, 4),
    "RTX 4070": (5888, 2475, 4),
    "RTX 4070 SUPER": (7168, 2475, 4),
    "RTX 4070 Ti": (7680, 2610, 4),
    "RTX 4070 Ti SUPER": (8448, 2610, 4),
    "RTX 4080": (9728, 2505, 4),
    "RTX 4080 SUPER": (10240, 2550, 4),
    "RTX 4090": (16384, 2520, 4),
    "L4": (7424, 2040, 8),
    "L40S": (18176, 2520, 8),
    "RTX 2000 Ada": (2816, 2130, 8),
    "RTX 4500 Ada": (7680, 2580, 8),
    "RTX 5000 Ada": (12800, 2550, 8),
    "RTX 6000 Ada": (18176, 2505, 8),
    "RTX 5050": (2560, 2572, 4),
    "RTX 5060": (3840, 2497, 4),
    "RTX 5060 Ti": (4608, 2572, 4),
    "RTX 5070": (6144, 2512, 4),
    "RTX 5070 Ti": (8960, 2452, 4),
    "RTX 5080": (10752, 2617, 4),
    "RTX 5090": (21760, 2407, 4),
    "H100 80GB HBM3": (16896, 1830, 32),
}


@pytest.mark.parametrize("name", CORES)
def test_a_stated_rate_is_what_cores_and_clock_come_to(name: str) -> None:
    cores, megahertz, operations = CORES[name]
    gpu = next(gpu for gpu in GPUS if gpu.name == name)
    assert gpu.tflops == pytest.approx(cores * megahertz * operations / 1e6, rel=0.02)


#: (bus width in bits, 1e9 transfers/s of a pin).
MEMORY = {
    "RTX 2080 Ti": (352, 14.0),
    "T4": (256, 10.0),
    "RTX 3070": (256, 14.0),
    "RTX 3090": (384, 19.5),
    "RTX A6000": (384, 16.0),
    "A100 SXM4 40GB": (5120, 2.43),
    "RTX 4060": (128, 17.0),
    "RTX 4080": (256, 22.4),
    "RTX 4090": (384, 21.0),
    "L4": (192, 12.5),
    "RTX 5070 Ti": (256, 28.0),
    "RTX 5080": (256, 30.0),
    "RTX 5090": (512, 28.0),
}


@pytest.mark.parametrize("name", MEMORY)
def test_a_stated_bandwidth_is_what_bus_and_pins_come_to(name: str) -> None:
    bits, transfers = MEMORY[name]
    gpu = next(gpu for gpu in GPUS if gpu.name == name)
    assert gpu.gb_s == pytest.approx(bits / 8 * transfers, rel=0.01)


def test_no_name_stands_twice() -> None:
    names = [gpu.name for gpu in GPUS]
    assert len(set(names)) == len(names)
