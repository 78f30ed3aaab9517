"""The loop on a toy: it learns, resumes exactly, survives being killed, spreads over processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apdepth_deploy.errors import CheckpointError, TrainingError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import is_tiny_vae
from apdepth_deploy.training import loop
from apdepth_deploy.training.config import TrainConfig
from apdepth_deploy.training.stepper import Stepper

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    """What a new process would start with."""
    AcceleratorState._reset_state(True)


def run(config: TrainConfig) -> list[str]:
    lines: list[str] = []
    loop.train(config, lines.append)
    AcceleratorState._reset_state(True)
    return lines


def curve(config: TrainConfig, tag: str = "loss/total") -> dict[int, float]:
    """What TensorBoard shows, by step: of a step written twice the later value.

    File by file, as they were written: TensorBoard goes by their names, which begin with a second
    and end with a number, and puts the tenth before the ninth of the same second.
    """
    shown = {}
    files = (Path(config.output) / "logs").rglob("events.*")
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        events = EventAccumulator(str(file))
        events.Reload()
        if tag in events.Tags()["scalars"]:
            shown |= {event.step: event.value for event in events.Scalars(tag)}
    return shown


def unet(config: TrainConfig, folder: str = "checkpoint") -> dict[str, torch.Tensor]:
    path = Path(config.output) / folder / "unet" / "diffusion_pytorch_model.safetensors"
    return load_file(path)


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("task", ["unet", "prior", "vae"])
def test_it_learns_one_network_and_leaves_the_others(
    make_config: MakeConfig, start: Path, task: str
) -> None:
    config = make_config(task=task, run={"steps": 20, "checkpoint_every": 20})
    run(config)
    losses = list(curve(config).values())
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:2])
    finished = Path(config.output) / "checkpoint"
    before = ApDepth.from_checkpoint(str(start)).state_dict()
    after = ApDepth.from_checkpoint(str(finished)).state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {task}
    said = json.loads((finished / "apdepth.json").read_text()).get("trained_at")
    assert said == ([[32, 48]] if task == "unet" else None)  # the start doesn't say


def test_a_light_vae_takes_the_vaes_place(
    make_config: MakeConfig, start: Path, scenes: Path
) -> None:
    validation = {"kind": "synthetic", "path": str(scenes), "split": "val"}
    config = make_config(
        task="light_vae",
        model={"light_width": 8},
        data={"validation": validation},
        optimizer={"lr": 3e-3},
        run={"steps": 20, "checkpoint_every": 10, "validate_every": 20},
    )
    run(config)
    for part in ("latent", "l1"):
        losses = list(curve(config, f"loss/{part}").values())
        assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:2])
    heavy = ApDepth.from_checkpoint(str(start))
    light = ApDepth.from_checkpoint(str(Path(config.output) / "checkpoint"))
    assert is_tiny_vae(light.spec.vae) and light.spec.conventions.latent_scale == 1.0
    ours, theirs = light.unet.state_dict(), heavy.unet.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    # What it made is where the next one may start, and what `export --vae` takes.
    vae = Path(config.output) / "checkpoint" / "vae"
    again = make_config("again", task="light_vae", model={"light_vae": str(vae)}, run={"steps": 1})
    run(again)
    with pytest.raises(CheckpointError, match="is not an AutoencoderTiny"):
        run(make_config("kl", task="light_vae", model={"light_vae": str(start / "vae")}))
    with pytest.raises(UsageError, match="learns from an AutoencoderKL"):
        run(make_config("tiny", task="light_vae", model={"vae": str(vae)}))


def test_the_second_stage_takes_the_firsts_place(make_config: MakeConfig) -> None:
    switch = make_config(loss={"frequency_start": 2})
    run(switch)
    assert sorted(curve(switch, "loss/mse")) == [1, 2]
    assert sorted(curve(switch, "loss/frequency")) == [3, 4]
    both = make_config("add", loss={"frequency_start": 2, "frequency_mode": "add"})
    run(both)
    assert sorted(curve(both, "loss/mse")) == [1, 2, 3, 4]


def test_resumed_and_uninterrupted_runs_agree(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    extras: dict[str, Any] = {"optimizer": {"ema": 0.9, "max_grad_norm": 1.0}, "run": {"steps": 5}}
    whole, broken = make_config("whole", **extras), make_config("broken", **extras)
    run(whole)
    step = Stepper.step

    def stop_at_4(self: Stepper, number: int, batches: Any) -> dict[str, float]:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, batches)

    monkeypatch.setattr(Stepper, "step", stop_at_4)
    with pytest.raises(KeyboardInterrupt):
        run(broken)
    monkeypatch.undo()
    AcceleratorState._reset_state(True)
    assert "going on after step 2" in run(broken)
    assert curve(broken) == curve(whole)
    assert_same(unet(broken), unet(whole))


def test_a_finished_run_is_left_alone(make_config: MakeConfig) -> None:
    config = make_config()
    run(config)
    first = curve(config)
    assert "going on after step 4" in run(config)
    assert curve(config) == first


def test_another_configuration_is_refused_by_name(make_config: MakeConfig) -> None:
    run(make_config())
    with pytest.raises(UsageError, match=r"another optimizer\.lr, run\.seed"):
        run(make_config(optimizer={"lr": 2e-3}, run={"seed": 1}))
    run(make_config(run={"keep": 1}, data={"bad_samples": 3}))  # what changes no curve may change


def test_old_checkpoints_go_and_the_options_stand_beside_the_weights(
    make_config: MakeConfig,
) -> None:
    config = make_config(run={"steps": 6, "keep": 2})
    run(config)
    folder = Path(config.output) / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step_000004", "step_000006"]
    record = json.loads((folder / "step_000004" / "training.json").read_text())
    assert record["steps"] == 4
    assert record["config"] == json.loads(json.dumps(config.to_json()))


def test_a_dry_run_writes_nothing(make_config: MakeConfig) -> None:
    config = make_config()
    lines: list[str] = []
    assert loop.train(config, lines.append, dry_run=True) is None
    assert "one step: mse" in lines[-1]
    assert not Path(config.output).exists()


def test_validation_gives_numbers_and_a_picture(make_config: MakeConfig, scenes: Path) -> None:
    validation = {"kind": "synthetic", "path": str(scenes), "split": "val"}
    config = make_config(
        data={"validation": validation}, run={"validate_every": 2, "validation_frames": 2}
    )
    run(config)
    assert sorted(curve(config, "validation/abs_rel")) == [2, 4]
    pictures = sorted(p.name for p in (Path(config.output) / "validation").iterdir())
    assert pictures == ["step_000002.png", "step_000004.png"]


def test_kept_latents_give_the_same_run(make_config: MakeConfig, tmp_path: Path) -> None:
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
    make_config: MakeConfig, tmp_path: Path
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


def test_a_loss_that_is_no_number_stops_the_run(make_config: MakeConfig) -> None:
    with pytest.raises(TrainingError, match="loss at step"):
        run(make_config(optimizer={"lr": 1e30, "warmup": 0}, run={"steps": 30}))


def test_bad_samples_are_stepped_over_up_to_a_limit(
    make_config: MakeConfig, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    make_config: MakeConfig, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
    make_config: MakeConfig, scenes: Path, tmp_path: Path
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


# --- in processes of its own ---------------------------------------------------------------------


def write_toml(config: TrainConfig, path: Path) -> Path:
    """The configuration as a user writes it."""
    data = json.loads(json.dumps(config.to_json()))
    sets = data["data"].pop("train")
    lines = [f"{key} = {json.dumps(data.pop(key))}" for key in ("output", "task")]
    tables = [(f"[{name}]", fields) for name, fields in data.items()]
    for header, fields in [*tables, *(("[[data.train]]", one) for one in sets)]:
        lines.append(header)
        lines += [f"{k} = {json.dumps(v)}" for k, v in fields.items() if v is not None]
    path.write_text("\n".join(lines) + "\n")
    return path


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_killed_run_recovers(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(run={"steps": 400, "checkpoint_every": 2})
    command = [
        sys.executable,
        "-m",
        "apdepth_deploy.training",
        str(write_toml(config, tmp_path / "run.toml")),
    ]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    folder = Path(config.output) / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(folder.glob("step_*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(int(p.name[5:]) for p in folder.glob("step_*"))
    assert 2 <= reached < 400
    config = make_config(run={"steps": 400, "checkpoint_every": 2})
    lines: list[str] = []

    class EnoughError(Exception):
        pass

    def listen(line: str) -> None:
        lines.append(line)
        if line.startswith("step "):
            raise EnoughError

    with pytest.raises(EnoughError):
        loop.train(config, listen)
    assert f"going on after step {reached}" in lines
    assert lines[-1].startswith(f"step {reached + 1}/400")
    assert not list(folder.glob(".apdepth-*"))


def test_two_processes_are_one_with_twice_the_accumulation(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    alone, spread = make_config("alone"), make_config("spread")
    run(alone)
    path = write_toml(spread, tmp_path / "spread.toml")
    # `accelerate launch` starts several processes on one machine only as if for several GPUs.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    done = subprocess.run(
        [*command, "-m", "apdepth_deploy.training", str(path)],
        env={**environment(), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "in 2 process(es)" in done.stderr
    one, two = curve(alone), curve(spread)
    assert one.keys() == two.keys()
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    first, second = unet(alone), unet(spread)
    for key in first:
        torch.testing.assert_close(first[key], second[key], rtol=1e-3, atol=1e-5)
