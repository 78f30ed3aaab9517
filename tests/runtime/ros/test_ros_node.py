"""The node over DDS: its contract, its depth, its diagnostics, and images that are none."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import Stabilizer

ROOT = Path(__file__).parents[3]
CONTRACT = json.loads((ROOT / "runtime/ros/contract.json").read_text(encoding="utf-8"))
RELATIVE = "/relative_depth/image_raw"

Message = Callable[..., dict[str, Any]]
Times = Iterator[float]


def test_the_running_node_has_what_the_contract_says(ros: Any) -> None:
    graph = ros.graph("depth", "/")
    for topic in CONTRACT["topics"]:
        name = "/" + topic["name"].lstrip("/")
        found = graph[topic["direction"]].pop(name)
        assert found == [topic["type"], topic["reliability"].upper()], name
    left = {name for way in graph.values() for name in way}
    assert left <= {"/rosout", "/parameter_events"}

    found = ros.parameters("/depth")
    found = {n: p for n, p in found.items() if not re.match("qos_overrides|use_sim|start_type", n)}
    names = {"bool": 1, "integer": 2, "double": 3, "string": 4}
    for wanted in CONTRACT["parameters"]:
        own = found.pop(wanted["name"])
        assert own["type"] == names[wanted["type"]], wanted
        assert own["read_only"] == wanted["read_only"] and own["description"] == wanted["words"]
        ranges = own["integer_range"] + own["floating_point_range"]
        told = [(one["from_value"], one["to_value"]) for one in ranges]
        assert told == ([(wanted["from"], wanted["to"])] if "from" in wanted else [])
        if wanted["name"] not in ("bundle", "backend", "steady"):
            assert own["value"] == wanted["default"]
    assert found == {}


def test_every_topic_takes_qos_overrides(ros: Any) -> None:
    found = ros.parameters("/depth")
    for topic in CONTRACT["topics"]:
        end = "publisher" if topic["direction"] == "out" else "subscription"
        name = f"qos_overrides./{topic['name'].lstrip('/')}.{end}"
        assert found[f"{name}.depth"]["value"] == topic["depth"]
        assert found[f"{name}.reliability"]["value"] == topic["reliability"]


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8"])
def test_depth_is_the_librarys_bit_for_bit(
    ros: Any,
    predictor: Any,
    picture: Any,
    image_message: Message,
    encoding: str,
    times: Times,
) -> None:
    seconds = next(times)
    ros.listen(RELATIVE, "Image")
    sent = {
        "rgb8": picture,
        "bgr8": picture[..., ::-1],
        "rgba8": np.dstack([picture, np.full((64, 96), 9, np.uint8)]),
    }[encoding]
    message = image_message(sent, encoding, seconds + 0.25, padding=5)
    ros.send("/image", "Image", message)
    (found,) = ros.heard(RELATIVE, 1)
    assert found["header"] == message["header"] and found["encoding"] == "32FC1"
    assert not found["is_bigendian"]
    np.testing.assert_array_equal(ros.array(found), predictor(picture))


def test_steady_depth_is_the_librarys_and_another_size_begins_anew(
    ros: Any, predictor: Any, picture: Any, image_message: Message, times: Times
) -> None:
    seconds, steady = next(times), Stabilizer()
    ros.set("/depth", steady=True)
    ros.listen(RELATIVE, "Image")
    pictures = [np.roll(picture, shift, axis=1) for shift in range(4)] + [picture[:48, :80]]
    for number, one in enumerate(pictures):
        ros.send("/image", "Image", image_message(one, "rgb8", seconds + number))
        (found,) = ros.heard(RELATIVE, 1)
        np.testing.assert_array_equal(ros.array(found), steady(one, predictor(one)))
    assert steady.age == 1


@pytest.mark.parametrize("camera", ["RELIABLE", "BEST_EFFORT"])
@pytest.mark.parametrize("viewer", ["RELIABLE", "BEST_EFFORT"])
def test_either_reliability_works_on_both_sides(
    ros: Any, picture: Any, image_message: Message, camera: str, viewer: str, times: Times
) -> None:
    ros.listen(RELATIVE, "Image", viewer)
    seconds = next(times)
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds), camera)
    (found,) = ros.heard(RELATIVE, 1)
    assert found["header"]["stamp"]["sec"] == seconds


def test_nobody_listens_and_nothing_is_done(
    ros: Any, picture: Any, image_message: Message, times: Times
) -> None:
    _, before = ros.diagnostics()
    seconds = next(times)
    for number in range(5):
        ros.send("/image", "Image", image_message(picture, "rgb8", seconds + number))
    status, after = ros.diagnostics()
    assert (after["images"], after["depths"]) == (before["images"], before["depths"])
    assert status["message"] == "nobody listens" and status["level"] == b"\0"
    ros.listen(RELATIVE, "Image")
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds + 9))
    assert len(ros.heard(RELATIVE, 1)) == 1


def test_parameters_are_kept_to_their_rules(ros: Any) -> None:
    def refused(**values: Any) -> str:
        ((done, why),) = ros.set("/depth", **values)
        assert not done and why
        return str(why)

    assert ros.set("/depth", rate=5, hold=2, camera_height=1) == [(True, "")] * 3
    found = ros.parameters("/depth")
    assert (found["rate"]["value"], type(found["rate"]["value"])) == (5.0, float)
    refused(bundle="elsewhere")
    refused(backend="torch")
    refused(rate="fast")
    refused(rate=-1.0)
    refused(points_every=0)
    assert "'32FC1', '16UC1'" in refused(depth_encoding="64FC1")
    assert "seven numbers" in refused(anchors_transform="1 2 3")
    assert ros.parameters("/depth")["rate"]["value"] == 5.0


def test_of_what_comes_too_fast_the_newest_is_taken_and_the_rest_is_counted(
    ros: Any, picture: Any, image_message: Message, times: Times
) -> None:
    _, before = ros.diagnostics()
    ros.listen(RELATIVE, "Image")
    ros.set("/depth", rate=4)
    seconds = next(times)
    for number in range(40):
        ros.send("/image", "Image", image_message(picture, "rgb8", seconds + number))
        time.sleep(0.02)
    stamps: list[float] = []
    while not stamps or stamps[-1] != seconds + 39:
        found = ros.heard(RELATIVE, 1)
        assert found, stamps
        stamps += [one["header"]["stamp"]["sec"] for one in found]
    assert stamps == sorted(set(stamps)) and 2 <= len(stamps) < 20
    _, after = ros.diagnostics()
    images, depths, dropped = (
        int(after[key]) - int(before[key]) for key in ("images", "depths", "dropped")
    )
    assert depths == len(stamps) and images == depths + dropped <= 40


BAD = {
    "no encoding": {"encoding": ""},
    "unknown encoding": {"encoding": "bayer_rggb8"},
    "depth for a picture": {"encoding": "32FC1"},
    "no rows": {"height": 0},
    "no columns": {"width": 0},
    "tiny": {"height": 8, "width": 8, "step": 24},
    "short step": {"step": 287},
    "no step": {"step": 0},
    "no data": {"data": b""},
    "a row too few": {"data": b"\1" * (288 * 63)},
    "a byte too few": {"data": b"\1" * (288 * 64 - 1)},
    "millions of rows": {"height": 4_000_000},
    "wide as can be": {"width": 2**32 - 1, "step": 2**32 - 1},
    "wide rgba": {"encoding": "rgba8"},
    "odd pairs": {"encoding": "yuv422", "width": 95},
    "odd rows of nv12": {"encoding": "nv12", "height": 63},
}


def test_bad_images_end_nothing(
    ros: Any,
    predictor: Any,
    picture: Any,
    image_message: Message,
    node: Any,
    times: Times,
) -> None:
    assert len(BAD) == 16
    _, before = ros.diagnostics()
    ros.listen(RELATIVE, "Image")
    seconds, told = next(times), node.said().count("no depth:")
    for number, (name, fields) in enumerate(BAD.items()):
        bad = image_message(picture, "rgb8", seconds + number)
        ros.send("/image", "Image", {**bad, **fields})
        time.sleep(0.1)  # it is taken, and not the newer one in its place
        good = image_message(picture, "rgb8", seconds + number + 0.5)
        found: list[Any] = []
        while not found:  # the newest may take the place of either
            ros.send("/image", "Image", good)
            found = ros.heard(RELATIVE, 1, 0.5)
        np.testing.assert_array_equal(ros.array(found[-1]), predictor(picture), name)
        ros.heard(RELATIVE, 1, 0.05)
    _, after = ros.diagnostics()
    failed = int(after["failed"]) - int(before["failed"])
    assert failed == 16 and "nv12" in after["why"]
    assert 1 <= node.said().count("no depth:") - told <= 3, "and it is said once in a while"


def test_diagnostics_come_once_a_second_with_all_their_keys(
    ros: Any, picture: Any, image_message: Message, times: Times
) -> None:
    ros.listen(RELATIVE, "Image")
    ros.listen("/diagnostics", "DiagnosticArray")
    seconds = next(times)
    ros.heard("/diagnostics", 1)
    ros.send("/image", "Image", image_message(picture, "rgb8", seconds))
    first, second = (ros.heard("/diagnostics", 1)[0] for _ in range(2))
    stamps = [one["header"]["stamp"]["sec"] for one in (first, second)]
    assert stamps[1] - stamps[0] in (1, 2)
    values = {pair["key"]: pair["value"] for pair in first["status"][0]["values"]}
    assert list(values) == CONTRACT["diagnostics"]
    assert 0 < float(values["latency_p50_ms"]) <= float(values["latency_p99_ms"])
    assert float(values["rate_hz"]) > 0 and values["engine"].startswith("onnxruntime")
    assert second["status"][0]["message"] == "no images"
    assert second["status"][0]["level"] == b"\1"
