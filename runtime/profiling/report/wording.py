"""Measured numbers in words, for a terminal and for a page alike; "-" for what is not known."""

from __future__ import annotations

from typing import Any


def number(value: float | None) -> str:
    """Three digits that matter, and no exponent."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 999.5 else 1 if abs(value) >= 9.995 else 2
    return f"{value:,.{digits}f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.1f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def frame_line(found: dict[str, Any]) -> str:
    """What was run, how often."""
    frame, batch = found["frame"], found["frame"]["batch"]
    frames = "1 frame" if batch == 1 else f"{batch} frames"
    return (
        f"{frames} of {frame['height']}x{frame['width']} ({frame['image']}), "
        f"{found['runs']} runs after {found['warm_up']} to warm up"
    )


def roofline_cells(found: dict[str, Any]) -> list[str]:
    """GFLOP, MB, FLOP/byte, GFLOP/s, of peak, of roof, bound."""
    return [
        number(found["gflop"]),
        megabytes(found["bytes"]),
        number(found["intensity"]),
        number(found["gflops"]),
        percent(found["fraction_of_peak"]),
        percent(found["fraction_of_attainable"]),
        found["bound"] or "-",
    ]


def peak_line(peak: dict[str, Any]) -> str:
    """A device's peak and where it is from."""
    rates = f"{number(peak['gflops'])} GFLOP/s, {number(peak['gb_s'])} GB/s"
    return f"peak of {peak['device']}: {rates} ({peak['source']})"


def gpu_line(when: str, facts: dict[str, Any] | None) -> str:
    """What NVML said "before" or "after" the timed runs."""
    if facts is None:
        return f"GPU {when}: not told"
    known = {key: "-" if value is None else value for key, value in facts.items()}
    slowed = "-" if facts["slowdowns"] is None else ", ".join(facts["slowdowns"]) or "nothing"
    return (
        f"GPU {when}: {known['name']}, driver {known['driver']}, CUDA {known['cuda_driver']}, "
        f"SM {known['sm_clock_mhz']} of {known['sm_clock_max_mhz']} MHz, "
        f"memory {known['memory_clock_mhz']} of {known['memory_clock_max_mhz']} MHz, "
        f"{known['temperature_c']} °C, {known['power_w']} of {known['power_limit_w']} W, "
        f"slowed by {slowed}"
    )
