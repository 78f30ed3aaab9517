"""A bundle whose graph is one line of numpy, for sizes and failures no real model shows; a real
Chromium, and what looks into its pages."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, save_model

from apdepth_deploy.bundle import Bundle, Graph, TensorInfo, file_entry, new_manifest
from apdepth_deploy.spec import ModelSpec

MakeBundle = Callable[..., Path]


def mean_graph(batch: Any, height: Any, width: Any, divisor: float) -> Any:
    """depth [B,H,W] = mean of the image's channels / divisor."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, height, width, 3])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [batch, height, width])
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axis"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "low"], ["shifted"]),
        helper.make_node("Div", ["shifted", "divisor"], ["depth"]),
    ]
    constants = [
        helper.make_tensor("axis", TensorProto.INT64, [1], [3]),
        helper.make_tensor("low", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("divisor", TensorProto.FLOAT, [], [divisor]),
    ]
    graph = helper.make_graph(nodes, "mean", [image], [depth], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="session")
def mean_bundle(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> MakeBundle:
    """(batch, height, width, divisor=255) -> a bundle of ``mean_graph``; sizes as in a manifest."""

    def make(batch: Any, height: Any, width: Any, divisor: float = 255.0) -> Path:
        folder = tmp_path_factory.mktemp("mean") / "mean_bundle"
        (folder / "onnx").mkdir(parents=True)
        bundle = Bundle(folder, new_manifest(micro_spec, {"kind": "random", "name": "mean"}))
        names = "onnx/fused.fp32.onnx", "onnx/fused.fp32.data"
        sizes = {"B": batch, "H": height, "W": width}
        axes = [n if isinstance(n, int) else name for name, n in sizes.items()]
        save_model(mean_graph(*axes, divisor), bundle.path(names[0]))
        bundle.path(names[1]).touch()
        image = TensorInfo("image", "uint8", (batch, height, width, 3))
        depth = TensorInfo("depth", "float32", (batch, height, width))
        graph = Graph(
            "fused", "fp32", *names, 21, (image,), (depth,), batch, height, width, 2, 4, {}
        )
        bundle.manifest["graphs"] = [dataclasses.asdict(graph)]
        bundle.manifest["files"] = {name: file_entry(bundle.path(name)) for name in names}
        bundle.write_manifest()
        return folder

    return make


@pytest.fixture(scope="session")
def micro_checkpoint(tmp_path_factory: pytest.TempPathFactory, micro_spec: ModelSpec) -> Path:
    """The weights that ``micro_bundle`` was exported from. Read only."""
    from apdepth_deploy.checkpoint import save_checkpoint
    from apdepth_deploy.model import ApDepth

    folder = tmp_path_factory.mktemp("micro") / "checkpoint"
    save_checkpoint(ApDepth.from_spec(micro_spec), folder)
    return folder


FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Any]]:
    """(*flags) -> a browser, with a test camera and WebGL on the processor."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: .ci/browser"
    )
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no Chromium here: .ci/browser")
    with playwright.sync_playwright() as started:
        yield lambda *flags: started.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


@pytest.fixture(scope="module")
def browser(chromium: Callable[..., Any]) -> Iterator[Any]:
    one = chromium("--disable-gpu")
    yield one
    one.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """(address, in_browser=browser, within=its host, **context) -> the page. It must do nothing
    wrong, nor ask for anything that isn't ``within``: ``visit.wrong`` has what did."""
    contexts, wrong = [], []

    def open_one(
        address: str, in_browser: Any = browser, within: str | None = None, **options: Any
    ) -> Any:
        context = in_browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        host = "/".join(address.split("/")[:3]) + "/"
        ours = (within or host, "blob:" + host)
        page.on(
            "request", lambda asked: None if asked.url.startswith(ours) else wrong.append(asked.url)
        )
        page.goto(address)
        return page

    open_one.wrong = wrong  # type: ignore[attr-defined]
    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def tools() -> Path:
    folder = os.environ.get("APDEPTH_BROWSER")
    if not folder:
        pytest.skip("APDEPTH_BROWSER is not set: export APDEPTH_BROWSER=$(.ci/browser)")
    return Path(folder)


@pytest.fixture
def lighthouse(tools: Path, tmp_path: Path) -> Callable[[str, str], None]:
    """(address, "phone" or "desktop"): asserts that Lighthouse finds the page as it should be."""

    def look(address: str, preset: str) -> None:
        command = [tools / "node_modules/.bin/lighthouse", address, "--quiet", "--output=json"]
        command += ["--only-categories=accessibility,best-practices", "--output-path=report.json"]
        command += ["--chrome-flags=--headless=new --no-sandbox --disable-gpu --no-first-run"]
        command += ["--preset=desktop"] if preset == "desktop" else []
        environment = os.environ | {"CHROME_PATH": shutil.which("chromium") or "", "CI": "1"}
        subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=300)
        found = json.loads((tmp_path / "report.json").read_text())
        low = [
            (name, audit["title"])
            for name, audit in found["audits"].items()
            if audit["score"] is not None and audit["score"] < 1
        ]
        scores = {name: one["score"] for name, one in found["categories"].items()}
        assert min(scores.values()) >= 0.95, (scores, low)

    return look


@pytest.fixture
def axe(tools: Path) -> Callable[[Any], None]:
    """(page): asserts that axe finds all of it accessible, as it stands now."""

    def look(page: Any) -> None:
        page.evaluate((tools / "node_modules/axe-core/axe.min.js").read_text())
        found = page.evaluate("axe.run()")
        assert found["violations"] == [], [one["help"] for one in found["violations"]]
        assert len(found["passes"]) > 20

    return look
