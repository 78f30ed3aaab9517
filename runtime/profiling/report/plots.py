"""Plots as inline SVG: text in, text out. Colours are the page's CSS classes s0, s1, ..."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

WIDTH = 960
_LEFT, _RIGHT = 72, 36


def colour(series: int) -> str:
    """The CSS class of a series; the page has six."""
    return f"s{series % 6}"


def escaped(text: object) -> str:
    return html.escape(str(text), quote=True)


def histogram(samples: Sequence[float], marks: Mapping[str, float], series: int) -> str:
    """Counts of ``samples`` in even bins, with a line at each mark; in milliseconds."""
    height, top, bottom = 220, 34, 172
    counts, edges = np.histogram(samples, bins=_bins(len(samples)), range=_spread(samples))
    low, high = float(edges[0]), float(edges[-1])
    most = int(counts.max())

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    parts = []
    for level in sorted({most, most // 2} - {0}):
        y = bottom - level / most * (bottom - top)
        parts += [_grid_line(y), _text(_LEFT - 8, y + 4, str(level), "end")]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        tall = count / most * (bottom - top)
        shape = _rect(x(start) + 0.5, bottom - tall, max(x(end) - x(start) - 1, 1), tall)
        note = f"{start:.3g} to {end:.3g} ms: {count} runs"
        parts.append(_bar(shape, series, count, note))
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>')
    for tick in _ticks(low, high):
        parts.append(_text(x(tick), bottom + 18, f"{tick:g}", "middle"))
    parts.append(_text((WIDTH + _LEFT - _RIGHT) / 2, bottom + 40, "milliseconds a call", "middle"))
    parts += _marks(marks, x, top, bottom)
    return _svg(parts, height, "latency histogram")


def _marks(
    marks: Mapping[str, float], x: Callable[[float], float], top: float, bottom: float
) -> list[str]:
    parts, free = [], -math.inf
    for name, value in marks.items():
        place = x(value)
        parts.append(f'<path class="mark" d="M{place:.1f} {top - 8}V{bottom}"/>')
        row = 0 if place >= free else 1
        free = place + 34
        parts.append(_text(place, top - 12 - 12 * row, name, "middle", "strong"))
    return parts


def bars(rows: Sequence[tuple[str, float, str, int]], name: str) -> str:
    """Horizontal bars: (label, value, text at its end, series)."""
    step, left = 30, 300
    longest = max((value for _, value, _, _ in rows), default=0.0) or 1.0
    parts = []
    for index, (label, value, text, series) in enumerate(rows):
        y = 8 + index * step
        wide = value / longest * (WIDTH - left - 150)
        parts.append(_text(left - 10, y + 15, _shortened(label, 44), "end"))
        parts.append(_bar(_rect(left, y, max(wide, 1.5), step - 9), series, value, text))
        parts.append(_text(left + max(wide, 1.5) + 8, y + 15, text, "start", "strong"))
    parts.append(f'<path class="axis" d="M{left} 2V{8 + len(rows) * step}"/>')
    return _svg(parts, 14 + len(rows) * step, name)


def roof(
    points: Sequence[tuple[str, float, float, int]], gflops: float, gb_s: float, device: str
) -> str:
    """The roofline, both axes logarithmic: points are (label, FLOP/byte, GFLOP/s, series)."""
    height, top, bottom = 320, 20, 262
    ridge = gflops / gb_s
    x_low, x_high = _decades([ridge / 10, ridge * 10, *(p[1] for p in points)])
    y_low, y_high = _decades([gflops, gb_s * 10**x_low, *(p[2] for p in points)])

    def x(value: float) -> float:
        share = (math.log10(value) - x_low) / (x_high - x_low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return bottom - (math.log10(value) - y_low) / (y_high - y_low) * (bottom - top)

    parts = []
    for power in range(y_low, y_high + 1):
        parts.append(_grid_line(y(10**power)))
        parts.append(_text(_LEFT - 8, y(10**power) + 4, _power(power), "end"))
    for power in range(x_low, x_high + 1):
        parts.append(_text(x(10**power), bottom + 18, _power(power), "middle"))
    start, flat = x(10**x_low), y(gflops)
    parts.append(
        f'<path class="roof" d="M{start:.1f} {y(gb_s * 10**x_low):.1f}'
        f'L{x(ridge):.1f} {flat:.1f}H{WIDTH - _RIGHT}"/>'
    )
    parts.append(_text(WIDTH - _RIGHT, flat - 8, f"{gflops:,.0f} GFLOP/s", "end"))
    for label, intensity, reached, series in points:
        place = f'cx="{x(intensity):.1f}" cy="{y(reached):.1f}" r="6"'
        note = f"{label}: {intensity:.3g} FLOP/byte, {reached:.3g} GFLOP/s"
        parts.append(
            f'<circle class="point {colour(series)}" {place}><title>{escaped(note)}</title>'
            "</circle>"
        )
        above = -12 if series % 2 == 0 else 22
        parts.append(_text(x(intensity), y(reached) + above, label, "middle", "strong"))
    middle = (WIDTH + _LEFT - _RIGHT) / 2
    words = "operations per byte (up and down: 1e9 operations/s)"
    parts.append(_text(middle, bottom + 42, words, "middle"))
    return _svg(parts, height, f"roofline of {device}")


def _bins(count: int) -> int:
    return min(40, max(5, math.ceil(2 * math.sqrt(count))))


def _spread(samples: Sequence[float]) -> tuple[float, float]:
    """The samples' range, never empty."""
    low, high = min(samples), max(samples)
    return (low, high) if high > low else (low * 0.99, low * 1.01 or 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers inside of a range."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(power * n for n in (5, 2, 1) if (high - low) / (power * n) >= 4 or n == 1)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _power(exponent: int) -> str:
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:g}"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _rect(x: float, y: float, width: float, height: float) -> str:
    return f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"'


def _bar(shape: str, series: int, value: float, note: str) -> str:
    """A bar that tells its value: to a pointer, and to who reads the page's source."""
    return (
        f'<rect class="bar {colour(series)}" data-value="{value:g}" {shape}>'
        f"<title>{escaped(note)}</title></rect>"
    )


def _grid_line(y: float) -> str:
    return f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">'
        f"{escaped(text)}</text>"
    )


def _svg(parts: Sequence[str], height: int, name: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escaped(name)}">\n'
        f"{inside}\n</svg>"
    )
