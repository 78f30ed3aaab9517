"""Every `apdepth-deploy` line of the README, run as it stands there, in order, in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from apdepth_deploy.bundle import Bundle
from apdepth_deploy.cli import VERBS, main
from apdepth_deploy.pictures.image import read_image
from apdepth_deploy.runtime.feeds.depth_video import read_depth_video
from apdepth_deploy.verify import records_of

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def served_once():
    """Words for a free port; a server that listens there is asked once, and then stopped."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asked = []

    def ask():
        deadline = time.monotonic() + 60
        while not asked and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                request = urllib.request.Request(
                    f"http://localhost:{port}/v1/depth",
                    (ROOT / "apdepth_deploy/data/bicycle.jpg").read_bytes(),
                )
                asked.append(urllib.request.urlopen(request, timeout=60).status)
            time.sleep(0.1)
        if asked:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=ask)
    thread.start()
    yield ["--port", str(port)]
    thread.join()
    assert asked == [200]


def readme_commands() -> list[list[str]]:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.split("#")[0].split() for line in lines]
    return [words for words in commands if words[:1] == ["apdepth-deploy"]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, micro_spec, write_hypersim):
    """What the README's lines name: a checkpoint, a unet folder, a prior, photos, data, recipes."""
    from apdepth_deploy.checkpoint import save_checkpoint
    from apdepth_deploy.model import ApDepth

    folder = tmp_path_factory.mktemp("readme")
    save_checkpoint(ApDepth.from_spec(micro_spec), folder / "CHECKPOINT")
    other = ApDepth.from_spec(micro_spec, seed=1)
    other.unet.save_pretrained(folder / "checkpoint/iter_025000/unet")
    assert other.prior is not None
    other.prior.net.save_pretrained(folder / "PRIOR")
    (folder / "photos").mkdir()
    photo = ROOT / "apdepth_deploy/data/bicycle.jpg"
    (folder / "photos" / "bicycle.jpg").write_bytes(photo.read_bytes())
    (folder / "anchors").mkdir()
    # As by a tape measure: the grass before the bicycle, the bicycle, and the hedge behind it.
    places = [(1.2, 390, (150, 300, 450)), (1.8, 250, (240, 300)), (5.0, 60, (60, 130, 200))]
    lines = [f"{x},{y},{z}" for z, y, columns in places for x in columns]
    (folder / "anchors" / "bicycle.csv").write_text("\n".join(lines))
    clips = runpy.run_path(str(ROOT / "tests/runtime/clips.py"))
    clips["write"](folder / "clip.mp4", clips["scenes"](2), "libx264", "yuv420p")
    (folder / "training").symlink_to(ROOT / "training")
    write_hypersim(folder / "RAW", 1)
    (folder / "metadata_images_split_scene_v1.csv").write_text(
        "scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,"
        "split_partition_name\nai_001_001,cam_00,0,True,,train\n"
    )
    return folder


@pytest.mark.slow
def test_every_command_does_what_the_readme_says(workplace, monkeypatch, capsys):
    """In this process, which has loaded PyTorch; `make demo` starts the program itself."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("XDG_CACHE_HOME", str(ROOT / "out" / "tests" / "cache"))
    commands = readme_commands()
    assert {words[1] for words in commands} == set(VERBS)
    for words in commands:
        if "--prior" in words and words[words.index("--prior") + 1].endswith(".pth"):
            continue  # an original .pth is loaded in test_original_prior.py
        if words[1] == "ros":
            run_node(words[1:], capsys)
            continue
        if words[1] == "web" and not os.environ.get("APDEPTH_BROWSER"):
            continue  # it asks npm's registry, as .ci/browser does
        with served_once() if words[1] == "serve" else contextlib.nullcontext([]) as port:
            assert main([*words[1:], *port]) == 0, f"{' '.join(words)}\n{capsys.readouterr().err}"
    photo = read_image(workplace / "photos/bicycle.jpg")
    depth = np.load(workplace / "depth/bicycle_depth.npy")
    assert depth.shape == photo.shape[:2] and depth.dtype == np.float32
    metres = np.load(workplace / "metres/bicycle_depth.npy")
    assert metres.shape == depth.shape and 0.3 < np.nanmedian(metres) < 6.0
    bundle = Bundle.open(workplace / "bundle")
    depths = [r for r in records_of(bundle.manifest) if r.stage == "decoder"]
    assert {r.precision for r in depths} == {"fp32", "fp16"} and bundle.frame_shape == (1, 240, 320)
    assert all(r.max_abs <= 1e-4 for r in depths if r.precision == "fp32")
    assert all(r.mean_abs <= 2e-3 and r.bad == 0 for r in depths if r.precision == "fp16")
    assert json.loads((workplace / "results/results.json").read_text())["frames"] == 1
    assert next(read_depth_video(workplace / "depth.mkv")).depth.shape == (48, 64)
    assert (workplace / "seen.mp4").stat().st_size > 1000
    assert (workplace / "hypersim/ai_001_001/rgb_cam_00_fr0000.png").is_file()
    if os.environ.get("APDEPTH_BROWSER"):
        for name in ("model/fused.fp32.data", "onnxruntime/ort-wasm-simd-threaded.wasm"):
            assert (workplace / "site" / name).stat().st_size > 10_000_000
    capsys.readouterr()
    assert main(["inspect", "bundle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parity"]


def run_node(words, capsys):
    """Until it is told to end, where ``.ci/ros`` put ROS; else it says what to install."""
    python = os.environ.get("APDEPTH_ROS")
    if not python:
        assert main(words) == 2 and "[ros]" in capsys.readouterr().err
        return
    command = [str(Path(python).with_name("apdepth-deploy")), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        said = [next(line for line in node.stderr if "ready: " in line)]
        node.send_signal(signal.SIGINT)
        said += node.stderr
    assert node.returncode == 0, "".join(said)


def test_the_readme_names_every_verb_and_only_those():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"apdepth-deploy (\w+)", text)) == set(VERBS)


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
