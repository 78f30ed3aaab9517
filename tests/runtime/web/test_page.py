"""The site in a real Chromium: its depth is ONNX Runtime's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy import load
from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import main
from apdepth_deploy.pictures.image import read_image

ROOT = Path(__file__).parents[3]
PHOTO = ROOT / "apdepth_deploy" / "data" / "bicycle.jpg"
DEMO = ROOT / "out" / "demo" / "bundle"
SHOWN = "main:not([data-empty])"
READY = "#engine:not(:empty)"
#: WebGPU on the processor.
WEBGPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
#: Puts all that the page says into window.said.
LISTEN = """addEventListener("DOMContentLoaded", () => {
  window.said = [];
  const said = document.getElementById("said");
  new MutationObserver(() => window.said.push(said.textContent)).observe(said, { childList: true });
})"""


@pytest.fixture(scope="module")
def tiny_bundle(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model: what `make demo` left, where it did, for exporting takes longest here."""
    if (DEMO / "manifest.json").exists():
        return DEMO
    folder = tmp_path_factory.mktemp("tiny") / "bundle"
    options = ["--precision", "fp32", "--height", "120", "--width", "160", "--no-verify"]
    assert main(["export", "tiny", *options, "-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def tiny_site(make_site: Callable[..., Path], tiny_bundle: Path) -> Path:
    return make_site(tiny_bundle)


@pytest.fixture(scope="module")
def mean_site(make_site: Callable[..., Path], mean_bundle: Callable[..., Path]) -> Path:
    return make_site(mean_bundle(1, 64, 96))


def depth_of(page: Any, picture: Path) -> np.ndarray:
    """float32 [H,W], as the page saves it."""
    page.set_input_files("#file", picture)
    said = page.locator("#said").filter(has_text=re.compile(rf"{picture.name} · \S+ · \d+ ms"))
    said.or_(page.locator("#failed:visible")).wait_for()
    assert page.inner_text("#failed") == ""
    with page.expect_download() as download:
        page.click("[data-save=npy]")
    found: np.ndarray = np.load(download.value.path())
    return found


def check_progress(said: list[str]) -> None:
    loaded = [re.fullmatch(r"Loading bundle: (\S+) MB of (\S+) MB …", line) for line in said]
    far = [float(one[1]) for one in loaded if one]
    assert len(far) > 5 and far == sorted(far)
    assert loaded[0] and far[-1] == float(loaded[0][2])
    assert said[len(far) :] == ["Starting bundle on WebAssembly …", ""]


@pytest.mark.slow
@pytest.mark.parametrize(("isolated", "threads"), [(False, "1 thread"), (True, "2 threads")])
def test_the_trained_model_gives_onnx_runtimes_depth(
    isolated: bool,
    threads: str,
    tiny_bundle: Path,
    tiny_site: Path,
    give_out: Callable[..., str],
    visit: Callable[..., Any],
    tmp_path: Path,
) -> None:
    link = give_out(tiny_site, isolated)
    page = visit("about:blank", within=link)
    page.add_init_script(LISTEN)
    page.goto(link + "?threads=2")
    page.wait_for_selector(READY)
    check_progress(page.evaluate("said"))
    assert page.inner_text("#engine") == f"bundle · onnxruntime-web · WebAssembly, {threads} · fp32"
    image = read_image(PHOTO)
    Image.fromarray(image).save(tmp_path / "photo.png")
    _, height, width = Bundle.open(tiny_bundle).frame_shape
    Image.fromarray(image[-height:, -width:]).save(tmp_path / "frame.png")
    with load(tiny_bundle, "onnxruntime") as predictor:
        for name in ("photo.png", "frame.png"):  # resized, and in the graph's own size
            expected = predictor(read_image(tmp_path / name))
            assert np.ptp(expected) > 0.1
            found = depth_of(page, tmp_path / name)
            assert found.dtype == np.float32 and np.abs(found - expected).max() <= 1e-4


def test_webgpu_is_taken_and_on_a_processor_only_where_asked_for(
    mean_site: Path,
    give_out: Callable[..., str],
    visit: Callable[..., Any],
    chromium: Callable[..., Any],
    tmp_path: Path,
) -> None:
    with_gpu, link = chromium(*WEBGPU), give_out(mean_site)
    page = visit(link, with_gpu)
    page.get_by_text("onnxruntime-web · WebAssembly, 1 thread · fp32").wait_for()
    page = visit(link + "?provider=webgpu", with_gpu)
    page.get_by_text("onnxruntime-web · WebGPU · fp32").wait_for()
    image = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.png")
    found = depth_of(page, tmp_path / "noise.png")
    assert np.abs(found - image.mean(axis=2) / 255).max() <= 1e-6


@pytest.mark.parametrize("sides", [(64, 96), ([64, 80, 96], [64, 96, 112])])
def test_pictures_are_turned_and_resized_as_by_infer(
    sides: tuple[Any, Any],
    make_site: Callable[..., Path],
    mean_bundle: Callable[..., Path],
    give_out: Callable[..., str],
    visit: Callable[..., Any],
    tmp_path: Path,
) -> None:
    bundle = mean_bundle(1, *sides)
    page = visit(give_out(make_site(bundle)))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    with load(bundle, "onnxruntime") as predictor:
        # A tall picture's bytes may be rounded otherwise.
        for size, bound in (((203, 149), 1e-6), ((50, 17), 1e-6), ((149, 203), 1 / 255)):
            image = np.random.default_rng(3).integers(0, 256, (*size, 3), np.uint8)
            path = tmp_path / f"{size[0]}.png"
            Image.fromarray(image).save(path, exif=exif)
            expected = predictor(read_image(path))
            assert expected.shape == size[::-1]
            assert np.abs(depth_of(page, path) - expected).max() <= bound


def test_the_camera_runs_until_it_is_stopped(
    mean_site: Path, give_out: Callable[..., str], visit: Callable[..., Any]
) -> None:
    page = visit(give_out(mean_site))
    page.click("#camera")
    page.get_by_text(re.compile(r"Camera · 96×72 · \d+ ms · [1-9]\d*\.\d frames/s")).wait_for()
    assert page.inner_text("#count") != "0"
    page.click("#camera")
    page.get_by_text("Use the camera").wait_for()
    said = page.inner_text("#said")
    page.wait_for_timeout(300)
    assert page.inner_text("#said") == said


def cut(site: Path) -> None:
    graph = next((site / "model").glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])


def garble(site: Path) -> None:
    graph = next((site / "model").glob("*.onnx"))
    graph.write_bytes(b"\xff" * graph.stat().st_size)


def lose(site: Path) -> None:
    next((site / "model").glob("*.onnx")).unlink()


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (cut, r"The graph's file model/fused.fp32.onnx has \d+ bytes and not \d+: copy the site"),
        (garble, r"onnxruntime-web can't run the graph here \(WebAssembly\): .*parsing"),
        (lose, r"The graph's file model/fused.fp32.onnx can't be loaded: the server answers 404"),
        (lambda site: shutil.rmtree(site / "onnxruntime"), r"onnxruntime-web can't run .* import"),
    ],
)
def test_a_damaged_site_says_so(
    harm: Callable[[Path], None],
    expected: str,
    mean_site: Path,
    give_out: Callable[..., str],
    visit: Callable[..., Any],
    tmp_path: Path,
) -> None:
    shutil.copytree(mean_site, tmp_path / "site")
    harm(tmp_path / "site")
    page = visit(give_out(tmp_path / "site"))
    page.wait_for_selector("#failed:visible")
    assert re.match(expected, page.inner_text("#failed"))
    page.set_input_files("#file", PHOTO)
    page.get_by_text("Nothing here gives depth yet: load the page again.").wait_for()
    assert all("404" in said for said in visit.wrong)  # type: ignore[attr-defined]
    visit.wrong.clear()  # type: ignore[attr-defined]


def test_what_gives_no_depth_is_said(
    mean_site: Path, give_out: Callable[..., str], visit: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (200, 15)).save(tmp_path / "thin.png")
    Image.new("1", (4097, 4096)).save(tmp_path / "vast.png")
    page = visit(give_out(mean_site))
    for name, said in (
        ("text", "This browser can't read that as a picture: JPEG and PNG work everywhere."),
        ("thin", "200×15 is too small: both sides must have at least 16 pixels."),
        ("vast", "4097×4096 is too large: make it smaller first, 16 megapixels at most."),
    ):
        page.set_input_files("#file", tmp_path / f"{name}.png")
        page.locator("#failed").get_by_text(said, exact=True).wait_for()
    assert depth_of(page, PHOTO).shape == read_image(PHOTO).shape[:2]


def test_the_page_says_what_it_runs_and_may_ask_no_other_host(
    mean_site: Path, give_out: Callable[..., str], visit: Callable[..., Any]
) -> None:
    page = visit(give_out(mean_site))
    page.get_by_text("random weights: this depth means nothing").wait_for()
    script = "fetch('http://localhost:9/').then(() => 'got', (error) => error.name)"
    assert page.evaluate(script) == "TypeError"
    assert any("Content Security Policy" in said for said in visit.wrong)  # type: ignore[attr-defined]
    visit.wrong.clear()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_it_is_accessible(
    mean_site: Path,
    give_out: Callable[..., str],
    visit: Callable[..., Any],
    axe: Callable[[Any], None],
    lighthouse: Callable[[str, str], None],
) -> None:
    page = visit(give_out(mean_site))
    depth_of(page, PHOTO)
    axe(page)
    lighthouse(give_out(mean_site), "phone")
