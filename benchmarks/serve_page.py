"""The page of ``serve`` in Chromium: frames a second of its camera, and docs/images/serve.jpg.

    python benchmarks/serve_page.py BUNDLE [--seconds 20]

Chromium's own test camera. Server and browser share the cores, which also draw the points.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

from measuring import save_results
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright
from serve import PHOTO, served

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "serve.jpg"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream "
    "--use-fake-ui-for-media-stream"
)
_SIZE = {"width": 1200, "height": 800}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    with served(options.bundle) as port, sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=FLAGS.split()
        )
        link = f"http://localhost:{port}/"
        light, dark = (photo(chromium, link, scheme) for scheme in ("light", "dark"))
        halves(light, dark).save(PICTURE, quality=82, optimize=True)
        print(f"wrote {PICTURE}")
        found = camera(chromium, link, options.seconds)
        chromium.close()
    print(found)
    save_results("serve_page.json", found)


def photo(chromium: Any, link: str, scheme: str) -> Image.Image:
    """What the page looks like with a picture in it."""
    page = chromium.new_page(viewport=_SIZE, color_scheme=scheme)
    page.goto(link)
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("main:not([data-empty])")
    page.hover("#depth")
    page.wait_for_timeout(1500)
    shot = page.screenshot()
    page.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


def halves(first: Image.Image, second: Image.Image) -> Image.Image:
    """The first, and the second to the right of a slanting line."""
    width, height = first.size
    mask = Image.new("L", first.size)
    corners = [(0.6 * width, 0), (width, 0), (width, height), (0.5 * width, height)]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return Image.composite(second, first, mask)


def camera(chromium: Any, link: str, seconds: int) -> dict[str, Any]:
    """Frames a second, as the page tells once a second, and milliseconds from frame to depth."""
    page = chromium.new_page(viewport=_SIZE)
    page.goto(link)
    page.click("#camera")
    page.wait_for_timeout(3000)
    rates, latencies = [], []
    for _ in range(seconds):
        page.wait_for_timeout(1000)
        said = re.search(r"([\d.]+) ms · ([\d.]+) frames/s", page.inner_text("#said"))
        assert said is not None
        latencies.append(float(said[1]))
        rates.append(float(said[2]))
    page.close()
    return {
        "frames_a_second": {"median": statistics.median(rates), "least": min(rates)},
        "latency_ms": {"median": statistics.median(latencies), "most": max(latencies)},
    }


if __name__ == "__main__":
    main()
