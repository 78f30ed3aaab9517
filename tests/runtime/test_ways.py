"""A bundle's way through the rooms: few, and straight down."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apdepth_deploy.bundle import Bundle

ROOT = Path(__file__).parents[2]
#: A verb's call traced: into which rooms it goes, and where it climbs. A room is a folder; the
#: core's own modules are one, but each has its own place for what may be called from where. What a
#: room was handed (a line's progress, what to do when a graph is done) is its caller's own.
TRACE = """
import functools, json, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1] + "/docs")
import draw_rooms as rooms
from apdepth_deploy.cli import main

@functools.cache
def place_of(file):
    try:
        parts = Path(file).resolve().relative_to(rooms.ROOT).with_suffix("").parts
    except ValueError:
        return None
    if parts[0] not in (rooms.CORE, *rooms.ROOMS):
        return None
    parts = parts if parts[0] == rooms.CORE else (rooms.CORE, *parts)
    return rooms.place_of(".".join(part for part in parts if part != "__init__"))

graph = rooms.arrows()
# By the front door, apdepth_deploy.load, of which the drawing knows nothing.
graph[rooms.CORE + ".training.evaluation"].add(rooms.CORE + ".runtime")

@functools.cache
def below(room):
    return graph[room].union(*map(below, graph[room]))

entered, climbs = set(), set()

def look(frame, event, argument):
    code, caller = frame.f_code, frame.f_back
    room = place_of(code.co_filename)
    names = ("<module>", "finished", "__call__", "__getattr__")
    if event != "call" or room is None or code.co_name in names:
        return
    while caller is not None and place_of(caller.f_code.co_filename) is None:
        caller = caller.f_back
    if caller is None or caller.f_code.co_name == "<module>":
        return
    entered.add(room if room.count(".") > 1 or rooms.is_package(room) else rooms.CORE)
    of = place_of(caller.f_code.co_filename)
    if of not in (room, rooms.JOINT) and room not in below(of):
        climbs.add(f"{of}.{caller.f_code.co_name} -> {room}.{code.co_name}")

if sys.argv[2] == "verify":  # what PyTorch does while it is imported would be looked at, too
    import apdepth_deploy.model.loading

threading.setprofile(look)
sys.setprofile(look)
code = main(sys.argv[2:])
sys.setprofile(None)
print(json.dumps([code, sorted(entered), sorted(climbs)]))
"""


def leave_one_graph(folder: Path) -> None:
    """All ten are compared by tests/core/test_verify.py; traced they take long."""
    bundle = Bundle.open(folder)
    graphs = bundle.manifest["graphs"]
    kept = [one for one in graphs if (one["name"], one["precision"]) == ("fused", "fp32")]
    files = {kept[0]["file"], kept[0]["data"]}
    bundle.manifest["graphs"] = kept
    bundle.manifest["files"] = {k: v for k, v in bundle.manifest["files"].items() if k in files}
    bundle.manifest["parity"] = []
    del bundle.manifest["golden"]
    bundle.write_manifest()


@pytest.mark.parametrize(
    "words",
    [
        "infer BUNDLE PLACE/photo_color.png PLACE/clip.mkv -o PLACE/depth",
        "infer BUNDLE PLACE/photo_color.png -o PLACE/depth --backend openvino",
        "points BUNDLE PLACE/photo_color.png --fov 60 -o PLACE/clouds",
        "live BUNDLE PLACE/clip.mkv --depth PLACE/depth.mkv",
        "profile BUNDLE --backend onnxruntime --runs 3 --html PLACE/report.html",
        "verify BUNDLE --checkpoint CHECKPOINT",
        "evaluate BUNDLE PLACE -o PLACE/scores",
    ],
    ids=lambda words: words.split()[0] + "_openvino" * words.endswith("openvino"),
)
def test_a_verb_goes_through_ten_rooms_at_most_and_climbs_none(
    words: str, micro_bundle: Path, micro_checkpoint: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.arange(64 * 96 * 3, dtype=np.uint8).reshape(64, 96, 3)).save(
        tmp_path / "photo_color.png"
    )
    clips = runpy.run_path(str(Path(__file__).with_name("clips.py")))
    clips["write"](tmp_path / "clip.mkv", clips["scenes"](2))
    depth = np.linspace(1000, 5000, 64 * 96).reshape(64, 96).astype(np.uint16)
    Image.fromarray(depth).save(tmp_path / "photo_depth.png")
    bundle = shutil.copytree(micro_bundle, tmp_path / "bundle")  # verify writes into it
    if words.startswith("verify"):
        leave_one_graph(bundle)
    places = {"BUNDLE": bundle, "CHECKPOINT": micro_checkpoint, "PLACE": tmp_path}
    for name, place in places.items():
        words = words.replace(name, str(place))
    command = [sys.executable, "-c", TRACE, str(ROOT), *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, entered, climbs = json.loads(done.stdout.splitlines()[-1])
    assert (code, climbs) == (0, [])
    assert {"apdepth_deploy.bundle", "apdepth_deploy.runtime.engines"} <= set(entered)
    assert len(entered) <= 10, entered
