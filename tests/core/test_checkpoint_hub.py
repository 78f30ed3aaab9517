"""Checkpoints by hub id: from the cache, and from a server as the hub is one."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from apdepth_deploy.errors import CheckpointError
from apdepth_deploy.model import ApDepth


@pytest.fixture
def hub(micro_saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds owner/name at two commits: main with the model, "old" without a VAE."""
    cache = tmp_path / "hub"
    repository = cache / "models--owner--name"
    for ref, commit in (("main", "a" * 40), ("old", "b" * 40)):
        shutil.copytree(micro_saved, repository / "snapshots" / commit)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / ref).write_text(commit)
    shutil.rmtree(repository / "snapshots" / ("b" * 40) / "vae")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def test_a_hub_id_is_found_in_the_cache(hub: Path, micro_depth: Tensor, frame: Tensor) -> None:
    model = ApDepth.from_checkpoint("owner/name")
    assert torch.equal(model(frame), micro_depth)
    assert model.spec.name == "name"
    with pytest.raises(CheckpointError, match=r"vae is missing"):
        ApDepth.from_checkpoint("owner/name", revision="old")


def test_a_prior_may_be_a_hub_id(
    hub: Path, micro_saved: Path, folder: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    snapshot = hub / "models--owner--prior" / "snapshots" / ("c" * 40)
    shutil.copytree(micro_saved / "prior", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    shutil.rmtree(folder / "prior")
    assert torch.equal(
        ApDepth.from_checkpoint(str(folder), prior="owner/prior")(frame), micro_depth
    )


@pytest.mark.parametrize("options", [{}, {"revision": "v9"}])
def test_an_unknown_hub_id_is_an_error(hub: Path, options: dict[str, str]) -> None:
    name = "owner/name" if options else "owner/unknown"
    with pytest.raises(CheckpointError, match=f"{name} is no local folder, and .*the hub: "):
        ApDepth.from_checkpoint(name, **options)


class HubServer(BaseHTTPRequestHandler):
    """As much of the hub as a snapshot needs: one repository, owner/name, at one commit."""

    root: Path
    fetched: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = [p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()]
        commit = {"X-Repo-Commit": "d" * 40}
        if path.startswith("/api/models/owner/name/tree/"):
            files = [{"path": name, **self.describe(name)} for name in names]
            self.answer(json.dumps(files).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/api/models/owner/name/"):
            info = {"id": "owner/name", "sha": "d" * 40, "siblings": []}
            self.answer(json.dumps(info).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/owner/name/resolve/"):
            name = path.split("/", 5)[5]
            if self.command == "GET":
                self.fetched.append(name)
            tag = {"ETag": json.dumps(self.describe(name)["oid"])}
            self.answer((self.root / name).read_bytes(), {**commit, **tag})
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def describe(self, name: str) -> dict[str, Any]:
        data = (self.root / name).read_bytes()
        return {"type": "file", "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def answer(self, body: bytes, headers: dict[str, str], code: int = 200) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def online_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[HubServer]]:
    """The client's own code against a server of ours; the repository is ``folder``."""
    HubServer.root, HubServer.fetched = folder, []
    constants = huggingface_hub.constants
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), HubServer) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield HubServer
        server.shutdown()


def test_a_download_leaves_out_what_is_not_needed(
    online_hub: type[HubServer], folder: Path, micro_depth: Tensor, frame: Tensor
) -> None:
    """Safetensors, .bin only where there are none, and no single-file gigabytes beside them."""
    safe = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(safe), safe.with_suffix(".bin"))
    safe.unlink()
    for name in ("v2-1_768-ema-pruned.safetensors", "unet/diffusion_pytorch_model.bin"):
        (folder / name).write_bytes(b"not needed")
    (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not needed")
    assert torch.equal(ApDepth.from_checkpoint("owner/name")(frame), micro_depth)
    weights = [name for name in online_hub.fetched if name.endswith((".bin", ".safetensors"))]
    assert sorted(weights) == [
        "prior/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.bin",
    ]
    with pytest.raises(CheckpointError, match=r"owner/other .*404"):
        ApDepth.from_checkpoint("owner/other")
