"""Sites, and a static server that gives them out under a path, as GitHub Pages does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.runtime.web.site import write_site

UNDER = "/pages/depth/"
#: What lets a page share memory between threads.
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


@contextlib.contextmanager
def giving_out(folder: Path, headers: Mapping[str, str]) -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            inside = path.removeprefix(UNDER) if path.startswith(UNDER) else "not/here"
            return super().translate_path("/" + inside)

        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def handler(*arguments: Any) -> Handler:
        return Handler(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{UNDER}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def give_out() -> Iterator[Callable[..., str]]:
    """(folder, isolated=False) -> its address."""
    with contextlib.ExitStack() as servers:
        yield lambda folder, isolated=False: servers.enter_context(
            giving_out(folder, ISOLATED if isolated else {})
        )


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As npm unpacks onnxruntime-web, but for what is in its files: for what no browser runs."""
    import json

    from apdepth_deploy.runtime.web.onnxruntime_web import FILES, VERSION

    folder = tmp_path_factory.mktemp("npm") / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    said = {"name": "onnxruntime-web", "version": VERSION}
    (folder / "package.json").write_text(json.dumps(said))
    for name in FILES:
        (folder / "dist" / name).write_text(f"what {name} holds")
    return folder


@pytest.fixture(scope="module")
def make_site(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(bundle, **options of write_site) -> a site with the real onnxruntime-web."""

    def make(bundle: Path, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("web") / "site"
        write_site(bundle, folder, package=tools / "node_modules/onnxruntime-web", **options)
        return folder

    return make
