"""The page in a real Chromium: what it shows and saves is what the API gives."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.pictures.depth import colorize, to_uint16
from apdepth_deploy.pictures.image import read_picture
from apdepth_deploy.runtime.metric.camera import camera_source
from apdepth_deploy.runtime.metric.points import Relief, cloud, write_ply

SHOWN = "main:not([data-empty])"


@pytest.fixture
def open_page(visit: Callable[..., Any], server: Any) -> Callable[..., Any]:
    """(address of the server's, **context) -> the page, which must do nothing wrong."""

    def open_one(address: str = server.link, **options: Any) -> Any:
        return visit(address, **options)

    open_one.wrong = visit.wrong  # type: ignore[attr-defined]
    return open_one


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Larger than the bundles' frame, with edges in its depth."""
    y, x = np.mgrid[0:128, 0:192]
    grey = 40 + x * 0.4 + y * 0.5 + 90 * ((x - 100) ** 2 + (y - 60) ** 2 < 1500)
    path = tmp_path_factory.mktemp("page") / "disc.png"
    Image.fromarray(np.stack([grey, grey * 0.8, grey * 0.6], -1).astype(np.uint8)).save(path)
    return path


def saved(page: Any, kind: str) -> bytes:
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    suffix = ".ply" if kind == "ply" else f"_depth.{kind}"
    assert download.value.suggested_filename == f"disc{suffix}"
    return Path(download.value.path()).read_bytes()


def canvas_pixels(page: Any, name: str) -> np.ndarray:
    """uint8 [H,W,3] of a 2-D canvas."""
    script = """name => {
      const { height, width } = document.getElementById(name);
      const painter = document.getElementById(name).getContext("2d");
      return [height, width, ...painter.getImageData(0, 0, width, height).data];
    }"""
    height, width, *values = page.evaluate(script, name)
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def test_a_picture_gives_the_apis_depth(
    open_page: Callable[..., Any], server: Any, photo: Path, tmp_path: Path
) -> None:
    page = open_page()
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    answer = server.ask("/v1/depth", photo.read_bytes(), {"Accept": "application/x-npy"})
    depth = answer.npy()
    assert saved(page, "npy") == answer.body
    png = np.asarray(Image.open(io.BytesIO(saved(page, "png"))))
    assert png.dtype == np.uint16 and np.array_equal(png, to_uint16(depth))
    colours = np.abs(canvas_pixels(page, "depth").astype(int) - colorize(depth))
    assert colours.max() <= 1 and colours.mean() < 0.01
    picture = read_picture(photo)
    assert np.array_equal(canvas_pixels(page, "picture"), picture.image)
    camera = camera_source(fov=60.0).of(picture)
    points = cloud(Relief().z(depth), picture.image, camera, spacing=2)
    assert 0 < len(points.xyz) < depth.size  # some hang behind the disc's edge
    write_ply(tmp_path / "disc.ply", points, str(Relief()))
    ours, theirs = saved(page, "ply"), (tmp_path / "disc.ply").read_bytes()
    assert ours[: ours.index(b"end_header")] == theirs[: theirs.index(b"end_header")]
    one, two = (np.frombuffer(of[-15 * len(points.xyz) :], "<3f4, 3u1") for of in (ours, theirs))
    np.testing.assert_allclose(one["f0"], two["f0"], rtol=1e-5, atol=1e-5)
    assert np.array_equal(one["f1"], two["f1"])


def test_the_value_is_read_by_pointer_and_by_keys(
    open_page: Callable[..., Any], server: Any, photo: Path
) -> None:
    depth = server.ask("/v1/depth", photo.read_bytes(), {"Accept": "application/x-npy"}).npy()
    page = open_page()
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 100.5 / 192, box["y"] + box["height"] * 60.5 / 128)
    assert page.inner_text("#value") == f"x 100 · y 60 · depth {depth[60, 100]:.3f}"
    page.focus("#depth")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "ArrowUp"):
        page.keyboard.press(key)
    assert page.inner_text("#value") == f"x 102 · y 69 · depth {depth[69, 102]:.3f}"
    for _ in range(30):
        page.keyboard.press("Shift+ArrowLeft")
    assert page.inner_text("#value").startswith("x 0 · y 69 · ")


def test_points_are_drawn_and_turn(open_page: Callable[..., Any], photo: Path) -> None:
    def seen() -> np.ndarray:
        page.wait_for_timeout(200)
        shot = page.locator("#points").screenshot()
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
        return pixels[8:-8, 8:-8]  # within the line around what has the keys

    def part(shot: np.ndarray) -> float:
        return float((np.abs(shot - shot[4, 4]).max(axis=2) > 30).mean())

    page = open_page(viewport={"width": 1100, "height": 700})
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    assert page.inner_text("#count") != "0"
    first = seen()
    assert 0.15 < part(first) < 0.9
    page.focus("#points")
    page.keyboard.press("ArrowLeft")
    turned = seen()
    assert np.abs(turned - first).mean() > 1
    page.keyboard.press("-")
    page.keyboard.press("-")
    assert part(seen()) < part(turned)
    page.keyboard.press("Home")
    assert np.abs(seen() - first).mean() < 0.1
    box = page.locator("#points").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -300)
    larger = seen()
    assert part(larger) > part(first)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 230)
    page.mouse.up()
    assert np.abs(seen() - larger).mean() > 1


def test_the_camera_streams_until_it_is_stopped(open_page: Callable[..., Any]) -> None:
    page = open_page(viewport={"width": 700, "height": 800})
    page.click("#camera")
    page.wait_for_selector(SHOWN)
    page.get_by_text(re.compile(r"Camera · 96×72 · \d+ ms · [1-9]\d*\.\d frames/s")).wait_for()
    first = canvas_pixels(page, "picture")
    page.wait_for_timeout(500)
    assert np.abs(canvas_pixels(page, "picture").astype(int) - first).max() > 50
    page.click("#camera")
    page.get_by_text("Use the camera").wait_for()
    said = page.inner_text("#said")
    page.wait_for_timeout(500)
    assert page.inner_text("#said") == said


def test_another_bundle_gives_other_depth(open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page()
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    far = page.inner_text("#far")
    page.select_option("#bundle", "mean_bundle-2")
    page.wait_for_selector(f"#far:not(:text-is('{far}'))")
    assert float(page.inner_text("#far").split()[0]) == pytest.approx(
        float(far.split()[0]) / 2, abs=1e-3
    )


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(
    event: str, open_page: Callable[..., Any], photo: Path
) -> None:
    page = open_page()
    page.wait_for_selector("#bundle option", state="attached")
    script = """([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], "disc.png", { type: "image/png" }));
      document.body.dispatchEvent(kind === "drop"
        ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }"""
    page.evaluate(script, [event, list(photo.read_bytes())])
    page.wait_for_selector(SHOWN)
    assert page.inner_text("#said").startswith("disc.png · 192×128 · ")


def test_what_is_no_picture_is_said(open_page: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    page = open_page()
    page.wait_for_selector("#bundle option", state="attached")
    page.set_input_files("#file", tmp_path / "text.png")
    page.wait_for_selector("#failed:visible")
    assert page.inner_text("#failed") == "not a picture that can be read"
    [said] = open_page.wrong  # Chromium's own line for every 4xx
    assert "422" in said
    open_page.wrong.clear()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_all_of_it(width: int, open_page: Callable[..., Any], photo: Path) -> None:
    page = open_page(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.tap("#depth")
    assert re.fullmatch(r"x \d+ · y \d+ · depth 0\.\d+", page.inner_text("#value"))


def test_the_link_has_the_token(
    open_page: Callable[..., Any],
    serve: Callable[..., Any],
    bundles: list[Path],
    photo: Path,
) -> None:
    options = ("--host", "0.0.0.0")
    with serve(bundles[0], options=options, APDEPTH_TOKEN="a-token-of-the-tests") as server:
        link = f"http://localhost:{server.port}/"
        page = first = open_page(f"{link}#token=a-token-of-the-tests")
        page.set_input_files("#file", photo)
        page.wait_for_selector(SHOWN)
        assert page.url == link
        page.click("#camera")
        page.get_by_text(re.compile("Camera · 96×72")).wait_for()
        page.click("#camera")
        page.reload()
        page.get_by_text("mean_bundle · onnxruntime").wait_for()
        page = open_page(link)
        page.wait_for_selector("#failed:visible")
        assert "open the link that serve printed" in page.inner_text("#failed")
        for one in (first, page):  # before the server goes: what it is asked then fails
            one.context.close()
        assert all("401" in said for said in open_page.wrong)
        open_page.wrong.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_all_of_it_accessible(
    scheme: Any, open_page: Callable[..., Any], photo: Path, axe: Callable[[Any], None]
) -> None:
    """With a picture in it, which Lighthouse, that goes by axe, doesn't see."""
    page = open_page(color_scheme=scheme)
    page.set_input_files("#file", photo)
    page.wait_for_selector(SHOWN)
    axe(page)
