"""The loop's samples: some are bad, and latents that are kept stay those of their frames."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apdepth_deploy.errors import TrainingError, UsageError
from apdepth_deploy.training.config import TrainConfig

MakeConfig = Callable[..., TrainConfig]
Run = Callable[[TrainConfig], list[str]]
Curve = Callable[..., dict[int, float]]


def test_kept_latents_give_the_same_run(
    make_config: MakeConfig, tmp_path: Path, run: Run, curve: Curve
) -> None:
    plain, kept = (
        make_config(name, data={"latents": folder}, loss={"pixel_l1": 0.1})
        for name, folder in (("plain", None), ("kept", str(tmp_path / "latents")))
    )
    run(plain)
    run(kept)
    assert len(list((tmp_path / "latents").rglob("*.safetensors"))) == 24
    first, second = curve(plain), curve(kept)
    assert first.keys() == second.keys()
    np.testing.assert_allclose(list(second.values()), list(first.values()), rtol=1e-4)
    with pytest.raises(UsageError, match="latents of other networks"):
        run(make_config("other", data={"latents": str(tmp_path / "latents")}))


def test_kept_latents_of_augmented_frames_are_one_draw(
    make_config: MakeConfig, tmp_path: Path, run: Run
) -> None:
    def kept(name: str, augment: bool = True) -> dict[str, torch.Tensor]:
        folder = tmp_path / name
        run(make_config(f"run_{name}", data={"latents": str(folder), "augment": augment}))
        return {path.stem: load_file(path)["inputs"] for path in folder.rglob("*.safetensors")}

    first, again, plain = kept("first"), kept("again"), kept("plain", augment=False)
    assert len(first) == 24
    for name, latent in first.items():
        torch.testing.assert_close(latent, again[name], rtol=0, atol=0)
        assert not torch.equal(latent, plain[name])
    with pytest.raises(UsageError, match="latents of other networks"):
        run(make_config("other", data={"latents": str(tmp_path / "plain"), "augment": True}))


def test_bad_samples_are_stepped_over_up_to_a_limit(
    make_config: MakeConfig,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run: Run,
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    (copy / "train" / "000003_0_rgb.png").write_bytes(b"not a picture")
    (copy / "train" / "000007_0_depth.png").unlink()
    table = {"train": [{"kind": "synthetic", "path": str(copy)}]}
    run(make_config("enough", data={**table, "bad_samples": 2}))
    said = capsys.readouterr().err
    assert "000003_0_rgb.png" in said and "000007_0_depth.png" in said
    for workers in (0, 1):
        data = {**table, "bad_samples": 1, "workers": workers}
        with pytest.raises(TrainingError) as caught:
            run(make_config(f"too_many_{workers}", data=data))
        assert str(caught.value).startswith("more than 1 samples are missing")
        assert str(caught.value).endswith("or raise data.bad_samples")


def test_a_bad_frame_to_look_at_costs_itself_alone(
    make_config: MakeConfig,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run: Run,
    curve: Curve,
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    validation = {"kind": "synthetic", "path": str(copy), "split": "val"}
    changes: dict[str, Any] = {
        "data": {"validation": validation},
        "run": {"steps": 1, "validate_every": 1},
    }

    def looked(name: str) -> float:
        run(config := make_config(name, **changes))
        return curve(config, "validation/abs_rel")[1]

    whole = [looked("whole")]
    for number in (0, 1):
        (copy / "val" / f"00000{number}_0_depth.png").write_bytes(b"")
        whole.append(looked(f"without_{number}"))
    assert "val: 000001_0_depth.png is damaged" in capsys.readouterr().err
    assert len(set(whole)) == 3 and np.isfinite(whole).all()
    (copy / "val" / "000002_0_rgb.png").write_bytes(b"")
    with pytest.raises(TrainingError, match="not one of 3 frames"):
        run(make_config("none", **changes))


def test_latents_are_of_the_frames_that_are_there(
    make_config: MakeConfig, scenes: Path, tmp_path: Path, run: Run
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    folder = tmp_path / "latents"

    def kept(name: str) -> dict[str, torch.Tensor]:
        sets = [{"kind": "synthetic", "path": str(copy), "far_is_valid": True}]
        data = {"train": sets, "latents": str(folder), "flip": 0.0, "bad_samples": 1}
        run(make_config(name, data=data, run={"steps": 1}))
        return {path.stem: load_file(path)["latent"] for path in folder.rglob("*.safetensors")}

    first = kept("first")
    assert len(first) == 12
    # A frame goes from the list, and another takes its files: 0 is now 1, and so on.
    listed = copy / "train" / "list.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    shutil.copyfile(copy / "train" / "000001_0_depth.png", copy / "train" / "000005_0_depth.png")
    (copy / "train" / "000003_0_rgb.png").write_bytes(b"")
    second = kept("second")
    torch.testing.assert_close(second["000000"], first["000001"])
    torch.testing.assert_close(second["000004"], first["000001"])  # the same depth
    assert "000002" not in second
    # What was bad is mended.
    shutil.copyfile(scenes / "train" / "000003_0_rgb.png", copy / "train" / "000003_0_rgb.png")
    torch.testing.assert_close(kept("third")["000002"], first["000003"])
