"""The page: well-formed, self-contained, and its plots hold the numbers."""

from __future__ import annotations

import copy
import html.parser
import re
from typing import Any

import numpy as np
import pytest

from apdepth_deploy.runtime.profiling.measure.timing import Latency
from apdepth_deploy.runtime.profiling.report.html import html_report
from apdepth_deploy.runtime.profiling.report.plots import bars, histogram, roof
from apdepth_deploy.runtime.profiling.report.wording import gpu_line, megabytes, number, percent

VOID = {"meta", "br", "link", "img", "input", "hr"}
EVIL = "<script>alert('&')</script>"


class Page(html.parser.HTMLParser):
    """Tags in order, the text between them, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, style: str) -> list[float]:
        """What the bars of one class say they show."""
        return [
            float(found["data-value"] or "nan")
            for tag, found in self.tags
            if tag == "rect" and f" {style}" in (found["class"] or "")
        ]


def latency(p50: float) -> dict[str, float]:
    return dict(Latency.of([p50 / 1e3, p50 / 1e3 * 1.1]).__dict__)


def timing(p50: float) -> dict[str, Any]:
    samples = [p50, p50 * 1.1, p50 * 1.2, p50 * 1.2]
    return {"latency": latency(p50), "throughput": 1e3 / p50, "samples_ms": samples}


def result(label: str, p50: float) -> dict[str, Any]:
    peak = {"device": "GPU", "gflops": 165_200.0, "gb_s": 1008.0, "source": "a table"}
    return {
        "label": label,
        "backend": label.split()[0],
        "device": "cpu",
        "precision": "fp32",
        "reason": f"{label}: why",
        "load_seconds": 1.0,
        "first_ms": p50,
        "ratio": p50 / 10.0,
        "host": timing(p50),
        "device_only": None,
        "stages": [
            {
                "name": name,
                "latency": latency(share * p50),
                "share": share,
                "gflop": 1.0,
                "gflops": 2.0,
            }
            for name, share in (("encoder", 0.25), ("decoder", 0.75))
        ],
        "layers": None,
        "memory": {"host_growth": 5_000_000, "gpu_growth": None, "weights": 7, "activations": None},
        "roofline": {
            "gflop": 50.0,
            "bytes": 1_000_000,
            "intensity": 50_000.0,
            "gflops": 5000.0,
            "basis": "host",
            "peak": peak,
            "fraction_of_peak": 0.03,
            "attainable": 165_200.0,
            "fraction_of_attainable": 0.03,
            "bound": "compute",
        },
        "notes": [f"{label}, layers: not told"],
    }


@pytest.fixture
def found() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "bundle": {"folder": "b", "spec": "small", "random_weights": False, "graphs": []},
        "frame": {"batch": 1, "height": 480, "width": 640, "image": "photo"},
        "runs": 4,
        "warm_up": 1,
        "machine": {"os": "Linux", "cpu": "a CPU", "cores": 2, "memory_bytes": 8 * 10**9},
        "gpu": None,
        "gpu_missing": "nothing ran on a GPU",
        "versions": {"python": "3.11"},
        "backends": [result("onnxruntime fp32", 10.0), result("torch fp32", 13.4)],
    }


def test_the_page_loads_nothing_and_closes_every_tag(found: dict[str, Any]) -> None:
    text = html_report(found)
    page = Page(text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|<img|\bsrc=", text)
    assert not any("href" in attributes for _, attributes in page.tags)
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_the_numbers_are_on_the_page(found: dict[str, Any]) -> None:
    words = " ".join(Page(html_report(found)).words)
    for value in ("10.0", "13.4", "1.34 × the time of onnxruntime fp32", "100.0 frames/s"):
        assert value in words
    for value in ("75.0%", "165,200 GFLOP/s, 1,008 GB/s (a table)", "5.0 MB", "8.0 GB"):
        assert value in words
    assert "torch fp32, layers: not told" in words and "nothing ran on a GPU" in words


def test_every_plot_has_its_bars(found: dict[str, Any]) -> None:
    """Per backend: four samples in a histogram, two stages, host growth and weights."""
    page = Page(html_report(found))
    for style, p50 in (("s0", 10.0), ("s1", 13.4)):
        values = page.values(style)
        counts, rest = values[:-4], values[-4:]
        assert sum(counts) == 4
        assert rest == pytest.approx([p50 / 4 * 1.05, p50 * 0.75 * 1.05, 5.0, 7e-6], rel=1e-3)
    points = [found for tag, found in page.tags if tag == "circle"]
    assert len(points) == 2
    assert sum(tag == "svg" for tag, _ in page.tags) == 2 + 1 + 1 + 1


def test_names_cannot_become_markup(found: dict[str, Any]) -> None:
    tags = [tag for tag, _ in Page(html_report(found)).tags]
    hostile = copy.deepcopy(found)
    hostile["bundle"] |= {"spec": EVIL, "folder": EVIL}
    hostile["frame"]["image"] = hostile["machine"]["cpu"] = hostile["gpu_missing"] = EVIL
    hostile["versions"] = {EVIL: EVIL}
    for entry in hostile["backends"]:
        entry |= {"label": EVIL, "reason": EVIL, "device": EVIL, "notes": [EVIL]}
        entry["stages"][0]["name"] = EVIL
        entry["roofline"]["peak"] |= {"device": EVIL, "source": EVIL}
    page = Page(html_report(hostile))
    assert [tag for tag, _ in page.tags] == tags
    assert EVIL in "".join(page.words)


def test_layers_are_summed_by_operation(found: dict[str, Any]) -> None:
    layer = {"name": "unet/a<b>", "kind": "Conv", "ms": 3.0, "share": 0.75}
    other = {"name": "unet/b", "kind": "Add", "ms": 1.0, "share": 0.25}
    found["backends"][0]["layers"] = [layer, other]
    page = Page(html_report(found))
    words = " ".join(page.words)
    assert "Layers of onnxruntime fp32" in words and "Conv unet/a<b>" in words
    assert "All 2 layers" in words
    meters = [found["style"] for tag, found in page.tags if tag == "i"]
    assert meters == ["--part:75.0%", "--part:25.0%"]


def test_what_was_not_measured_has_no_section(found: dict[str, Any]) -> None:
    for entry in found["backends"]:
        entry |= {"stages": None, "roofline": None, "notes": []}
    titles = re.findall(r"<h2>(.*?)</h2>", html_report(found))
    assert titles == ["Latency", "Memory", "Setting"]


def test_a_gpu_s_peak_without_a_bandwidth_draws_no_roof(found: dict[str, Any]) -> None:
    for entry in found["backends"]:
        entry["roofline"]["peak"]["gb_s"] = None
        entry["roofline"] |= {"attainable": None, "fraction_of_attainable": None, "bound": None}
    text = html_report(found)
    assert "<circle" not in text and "165,200 GFLOP/s, - GB/s" in text


def test_a_gpu_s_state_is_told_before_and_after(found: dict[str, Any]) -> None:
    facts = {
        "name": "RTX 4090",
        "driver": "580.65",
        "cuda_driver": "13.0",
        "sm_clock_mhz": 2745,
        "sm_clock_max_mhz": 3105,
        "memory_clock_mhz": 10501,
        "memory_clock_max_mhz": 10501,
        "temperature_c": 61,
        "power_w": None,
        "power_limit_w": 450.0,
        "slowdowns": ["power cap"],
    }
    found["gpu"] = {"before": facts, "after": None}
    words = " ".join(Page(html_report(found)).words)
    assert "GPU before: RTX 4090, driver 580.65, CUDA 13.0, SM 2745 of 3105 MHz" in words
    assert "61 °C, - of 450.0 W, slowed by power cap" in words and "GPU after: not told" in words
    assert gpu_line("after", {**facts, "slowdowns": []}).endswith("slowed by nothing")


# --- plots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 50, 5000])
def test_a_histogram_counts_every_sample_once(count: int) -> None:
    samples = list(np.random.default_rng(0).gamma(9.0, 2.0, count))
    page = Page(histogram(samples, {"p50": float(np.median(samples))}, 0))
    counts, _ = np.histogram(samples, bins=len(page.values("s0"))) if count > 1 else ([1], 0)
    assert sum(page.values("s0")) == count
    assert count == 1 or page.values("s0") == list(counts)
    assert 5 <= len(page.values("s0")) <= 40


@pytest.mark.parametrize("samples", [[5.0, 5.0, 5.0], [0.0, 0.0], [0.0012, 0.0013]])
def test_samples_that_are_all_alike_still_draw(samples: list[float]) -> None:
    text = histogram(samples, {"p50": samples[0], "p90": samples[0]}, 1)
    assert sum(Page(text).values("s1")) == len(samples) and "nan" not in text


def test_bars_are_as_long_as_their_values() -> None:
    page = Page(bars([("a", 4.0, "4 ms", 0), ("b", 1.0, "1 ms", 1), ("c", 0.0, "0", 2)], "x"))
    wide = [float(found["width"] or 0) for tag, found in page.tags if tag == "rect"]
    assert wide[0] == pytest.approx(4 * wide[1], rel=0.01) and wide[2] < 2
    assert Page(bars([], "nothing")).values("s0") == []


def test_a_point_under_the_roof_is_drawn_under_it() -> None:
    text = roof([("x", 100.0, 50.0, 0)], gflops=100.0, gb_s=10.0, device="d")
    [circle] = [found for tag, found in Page(text).tags if tag == "circle"]
    line = re.search(r'class="roof" d="M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)H', text)
    assert line and float(circle["cy"] or 0) > float(line[2])  # y grows downwards
    assert float(line[1]) > float(line[2])


def test_numbers_keep_three_digits() -> None:
    values = (None, 0.0, 0.0123, 0.5, 9.994, 9.996, 99.94, 999.6, 12345.6)
    said = ["-", "0.00", "0.012", "0.50", "9.99", "10.0", "99.9", "1,000", "12,346"]
    assert [number(value) for value in values] == said
    assert (megabytes(None), megabytes(1_234_567_890)) == ("-", "1,234.6")
    assert (percent(None), percent(0.1234)) == ("-", "12.3%")
