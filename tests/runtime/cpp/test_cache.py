"""OpenVINO is tuned as in Python, and what it compiled is kept in one place for both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apdepth_deploy import load
from apdepth_deploy.errors import ApDepthError
from apdepth_deploy.machine.devices import usable_cores
from apdepth_deploy.pictures.image import resize_image
from apdepth_deploy.runtime.engines.openvino_backend import has_bf16

from .conftest import Options

MakeBundle = Callable[..., Path]
LOG = dict(Options._fields_)["log"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/apdepth-deploy/openvino"


def kept(cache: Path) -> dict[str, tuple[int, int]]:
    """Each file, and what changes where it is written again."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(cache)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in files
    }


def opened(api: Any, bundle: Path, **options: Any) -> list[str]:
    """What the library says while it opens a bundle."""
    said: list[str] = []
    log = LOG(lambda data, level, message: said.append(f"{level} {message.decode()}"))
    api.open(bundle, log=log, **options).close()
    return said


TUNINGS: list[dict[str, Any]] = [
    {},
    {"threads": 1},
    {"hint": "throughput", "threads": 2},
    {"precision": "bf16"},
]


@pytest.mark.parametrize("options", TUNINGS)
@pytest.mark.parametrize("sizes", [(1, 16, 24), (1, [16, 32, 64], [16, 24, 48])])
def test_either_finds_what_the_other_compiled(
    api: Any, mean_bundle: MakeBundle, cache: Path, options: dict[str, Any], sizes: Any
) -> None:
    if options.get("precision") == "bf16" and not has_bf16():
        pytest.skip("this processor has no bfloat16")
    bundle = mean_bundle(*sizes)
    assert "compiled" in opened(api, bundle, **options)[0]
    by_cpp = kept(cache)
    assert len(by_cpp) == 2  # what was compiled, and its seal
    python = load(bundle, "openvino", **options)
    assert kept(cache) == by_cpp
    model = api.open(bundle, backend="openvino", **options)
    assert model.info().reason.decode() == python.reason
    assert model.info().precision.decode() == python.precision
    model.close()

    for entry in cache.iterdir():
        for file in entry.iterdir():
            file.unlink()
    load(bundle, "openvino", **options)
    by_python = kept(cache)
    assert by_python.keys() == by_cpp.keys() and by_python != by_cpp
    assert f"back from {cache}" in opened(api, bundle, **options)[0]
    assert kept(cache) == by_python


def test_what_was_damaged_is_compiled_again(api: Any, mean_bundle: MakeBundle, cache: Path) -> None:
    bundle = mean_bundle(1, 16, 24)
    opened(api, bundle)
    (blob,) = cache.rglob("*.blob")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    assert "compiled" in opened(api, bundle)[0]
    assert "back from" in opened(api, bundle)[0]
    model = api.open(bundle)
    frame = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    assert np.abs(model(frame) - frame.mean(-1) / 255).max() < 1e-5
    model.close()


def test_where_nothing_can_be_kept_it_says_so(
    api: Any, mean_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    bundle = mean_bundle(1, 16, 24)
    model = api.open(bundle)
    warning = model.info().warning.decode()
    model.close()
    (expected,) = load(bundle, "openvino").warnings
    assert warning == expected
    assert f"1 {warning}" in opened(api, bundle)


def test_bfloat16_is_pythons(api: Any, micro_bundle: Path, photo: np.ndarray) -> None:
    if not has_bf16():
        assert "has no bfloat16" in str(api.refusal(micro_bundle, precision="bf16"))
        return
    model, exact = (api.open(micro_bundle, precision=name) for name in ("bf16", "fp32"))
    frame = np.ascontiguousarray(resize_image(photo, 64, 96))
    assert model.info().precision == b"bf16"
    assert np.array_equal(model(frame), load(micro_bundle, "openvino", precision="bf16")(frame))
    assert 1e-4 < np.abs(model(frame) - exact(frame)).max() < 0.2
    model.close()
    exact.close()


@pytest.mark.parametrize("options", [{"hint": "fast"}, {"threads": 4 * usable_cores() + 1}])
def test_what_can_not_be_is_refused_in_pythons_words(
    api: Any, micro_bundle: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ApDepthError) as caught:
        load(micro_bundle, "openvino", **options)
    refusal = api.refusal(micro_bundle, **options)
    assert (refusal.status, str(refusal)) == ("usage", str(caught.value))
