"""The site of ``web`` in Chromium: milliseconds from a picture to its depth, by threads.

    python benchmarks/web_page.py BUNDLE --onnxruntime-web FOLDER [--runs 10]

The picture has the graph's own size, and is a PNG. Threads need a page that is isolated from
others, which the server here makes it.
"""

from __future__ import annotations

import argparse
import functools
import io
import re
import shutil
import statistics
import tempfile
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from measuring import save_results
from PIL import Image
from playwright.sync_api import sync_playwright
from serve import PHOTO
from serve_page import FLAGS

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.runtime.web.site import write_site


class Isolated(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--onnxruntime-web", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        write_site(options.bundle, site, package=options.onnxruntime_web)
        handler = functools.partial(Isolated, directory=str(site))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            found = measured(f"http://127.0.0.1:{server.server_port}/", options)
            server.shutdown()
    save_results("web_page.json", found)


def measured(link: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    _, height, width = Bundle.open(options.bundle).frame_shape
    picture = io.BytesIO()
    Image.open(PHOTO).convert("RGB").resize((width, height)).save(picture, format="PNG")
    found = []
    with sync_playwright() as started:
        for threads in (1, 2, 4):
            chromium = started.chromium.launch(
                executable_path=shutil.which("chromium"), args=FLAGS.split()
            )
            page = chromium.new_page()
            begin = time.perf_counter()
            page.goto(f"{link}?provider=wasm&threads={threads}")
            page.wait_for_selector("#engine:not(:empty)", timeout=300_000)
            loading = time.perf_counter() - begin
            times = [depth(page, picture.getvalue(), n) for n in range(options.runs + 1)][1:]
            found.append(
                {
                    "threads": threads,
                    "loading_s": loading,
                    "ms": {"median": statistics.median(times), "least": min(times)},
                }
            )
            print(found[-1])
            chromium.close()
    return found


def depth(page: Any, picture: bytes, number: int) -> float:
    """Milliseconds, as the page says."""
    name = f"picture{number}.png"
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": picture})
    said = page.locator("#said").filter(has_text=re.compile(rf"{name} · \S+ · \d+ ms"))
    said.wait_for(timeout=300_000)
    match = re.search(r"(\d+) ms", said.inner_text())
    assert match is not None
    page.wait_for_timeout(300)  # the points are drawn
    return float(match[1])


if __name__ == "__main__":
    main()
