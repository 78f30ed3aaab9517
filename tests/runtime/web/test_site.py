"""What ``web`` writes, what it fetches, and what it refuses."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.cli import main
from apdepth_deploy.errors import BackendError, BundleError, OutputError
from apdepth_deploy.runtime.web import onnxruntime_web
from apdepth_deploy.runtime.web.onnxruntime_web import FILES, VERSION, npm_settings
from apdepth_deploy.runtime.web.site import write_site

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="module")
def bundle(mean_bundle: MakeBundle) -> Path:
    return mean_bundle(1, 64, 96)


def test_the_site_is_whole(
    bundle: Path, package: Path, tmp_path: Path, contents: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    assert main(["web", str(bundle), "-o", str(site), "--onnxruntime-web", str(package)]) == 0
    said = capsys.readouterr()
    assert said.out == f"wrote {site}\n"
    assert "note: the weights are random: this depth means nothing" in said.err
    found = contents(site)
    assert sorted(found) == json.loads(found["site.json"])["files"]
    for name in ("fused.fp32.onnx", "fused.fp32.data"):
        assert found[f"model/{name}"] == (bundle / "onnx" / name).read_bytes()
    for name in FILES:
        assert found[f"onnxruntime/{name}"] == (package / "dist" / name).read_bytes()
    page = found["index.html"].decode()
    assert page.index("Content-Security-Policy") < page.index("<link") < page.index("<script")
    texts = [name for name in found if name.endswith((".js", ".html", ".css"))]
    assert [name for name in texts if b"://" in found[name]] == []


def test_only_a_site_is_replaced(
    bundle: Path, package: Path, tmp_path: Path, contents: Any
) -> None:
    site = tmp_path / "site"
    write_site(bundle, site, package=package)
    first = contents(site)
    (site / "model" / "fused.fp32.data").unlink()
    write_site(bundle, site, package=package)
    assert contents(site) == first
    (site / "CNAME").write_text("depth.example.org")
    with pytest.raises(OutputError, match="exists and is not something we made"):
        write_site(bundle, site, package=package)
    assert contents(site) == first | {"CNAME": b"depth.example.org"}
    (site / "CNAME").unlink()
    for other in ("{", "[]", '{"made_by": "apdepth-deploy web", "files": 3}'):
        (site / "site.json").write_text(other)
        with pytest.raises(OutputError):
            write_site(bundle, site, package=package)


def damage(bundle: Path) -> None:
    graph = bundle / "onnx" / "fused.fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")


def test_a_damaged_bundle_leaves_the_old_site(
    bundle: Path, package: Path, tmp_path: Path, contents: Any
) -> None:
    write_site(bundle, tmp_path / "site", package=package)
    before = contents(tmp_path)
    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    damage(other)
    with pytest.raises(BundleError, match="is damaged"):
        write_site(other, tmp_path / "site", package=package)
    shutil.rmtree(other)
    assert contents(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize(
    ("batch", "change", "precision", "said"),
    [
        (2, {}, None, "takes 2 frames at a time"),
        (1, {"precision": "bf16"}, None, "export with --precision fp32 --graph fused"),
        (1, {}, "bf16", "onnxruntime-web runs fp32, fp16, not bf16"),
        (1, {}, "fp16", "export with --precision fp16 --graph fused"),
    ],
)
def test_a_graph_that_browsers_cannot_run_is_refused(
    batch: int,
    change: dict[str, str],
    precision: str | None,
    said: str,
    mean_bundle: MakeBundle,
    package: Path,
    tmp_path: Path,
) -> None:
    other = mean_bundle(batch, 64, 96)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["graphs"][0] |= change
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackendError, match=said):
        write_site(other, tmp_path / "site", precision, package)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("package.json", None, "is no npm package"),
        ("package.json", "[]", "is no npm package"),
        ("package.json", '{"name": "onnxruntime-web", "version": "1.2.3"}', "is 'onnxruntime-web"),
        ("dist/ort.webgpu.min.mjs", None, "has no dist/ort.webgpu.min.mjs"),
    ],
)
def test_another_package_is_refused(
    name: str, content: str | None, said: str, bundle: Path, package: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(package, tmp_path / "package"))
    (other / name).unlink()
    if content is not None:
        (other / name).write_text(content)
    with pytest.raises(BackendError, match=said) as raised:
        write_site(bundle, tmp_path / "site", package=other)
    assert f"npm install onnxruntime-web@{VERSION}" in str(raised.value)
    assert not (tmp_path / "site").exists()


# --- from a registry ------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is given out as npm's registry is, to npm and to us."""
    folder = tmp_path / "registry"
    (folder / "onnxruntime-web" / "-").mkdir(parents=True)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("npm_config_registry", address)
        yield folder
        server.shutdown()
        thread.join()


def packed(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    """A tar, zipped."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


def publish(registry: Path, tar: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (registry / "onnxruntime-web" / "-" / f"onnxruntime-web-{VERSION}.tgz").write_bytes(tar)
    digest = base64.b64encode(hashlib.sha512(tar).digest()).decode()
    monkeypatch.setattr(onnxruntime_web, "INTEGRITY", f"sha512-{digest}")


@pytest.mark.parametrize("has_npm", [True, False])
def test_a_tar_puts_nothing_elsewhere(
    has_npm: bool,
    registry: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    contents: Any,
) -> None:
    if has_npm and shutil.which("npm") is None:
        pytest.skip("npm is not installed: .ci/browser")
    if not has_npm:
        monkeypatch.setenv("PATH", str(tmp_path))
    files = {f"package/dist/{name}": f"what {name} holds".encode() for name in FILES}
    stray = {"package/dist/../../../up": b"x", "/tmp/apdepth-stray": b"x", "package/more": b"x"}
    link = {f"package/dist/{FILES[0]}": str(tmp_path / "victim")}
    publish(registry, packed(files | stray, link), monkeypatch)
    write_site(bundle, tmp_path / "a" / "b" / "site")
    found = contents(tmp_path / "a" / "b" / "site" / "onnxruntime")
    assert found == {name: f"what {name} holds".encode() for name in FILES}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "registry"}
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["site"]
    assert not Path("/tmp/apdepth-stray").exists()


def test_another_tar_or_none_is_refused(
    registry: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match=r"from 127\.0\.0\.1: File not found\. Where npm works"):
        write_site(bundle, tmp_path / "site")
    files = {f"package/dist/{name}": b"x" for name in FILES}
    publish(registry, packed(files, {}), monkeypatch)
    place = registry / "onnxruntime-web" / "-" / f"onnxruntime-web-{VERSION}.tgz"
    whole = place.read_bytes()
    place.write_bytes(whole[:-1])
    with pytest.raises(BackendError, match="is not what was published"):
        write_site(bundle, tmp_path / "site")
    files.pop(f"package/dist/{FILES[-1]}")
    publish(registry, packed(files, {}), monkeypatch)
    with pytest.raises(BackendError, match=f"has no {FILES[-1]}"):
        write_site(bundle, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_registry_is_npms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
        monkeypatch.delenv(name)
    assert npm_settings()["registry"] == "https://registry.npmjs.org/"
    monkeypatch.setenv("npm_config_registry", "https://npm.example.org/all")
    assert npm_settings()["registry"] == "https://npm.example.org/all/"
