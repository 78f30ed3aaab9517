"""Checkpoints that are damaged, or whose parts don't go together: each a CheckpointError."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.spec import CONVENTIONS, ModelSpec, without_prior

WEIGHTS = "diffusion_pytorch_model"


def load(folder: Path, **options: str) -> ApDepth:
    return ApDepth.from_checkpoint(str(folder), **options)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(path)), path)


# --- damage --------------------------------------------------------------------------------------


def weights_of(folder: Path, network: str) -> Path:
    return folder / network / f"{'model' if network == 'prior' else WEIGHTS}.safetensors"


def as_bin(folder: Path, network: str) -> Path:
    """The network's weights as a .bin instead of safetensors."""
    safe = weights_of(folder, network)
    path = folder / network / f"{'pytorch_model' if network == 'prior' else WEIGHTS}.bin"
    torch.save(load_file(safe), path)
    safe.unlink()
    return path


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("network", ["unet", "vae", "prior"])
class TestDamage:
    def test_a_missing_folder(self, folder: Path, network: str) -> None:
        shutil.rmtree(folder / network)
        with pytest.raises(CheckpointError, match=rf"{network}/? "):
            load(folder)

    def test_missing_weights(self, folder: Path, network: str) -> None:
        weights_of(folder, network).unlink()
        with pytest.raises(CheckpointError, match=rf"{network} has no .*weights are missing"):
            load(folder)

    def test_a_missing_config(self, folder: Path, network: str) -> None:
        (folder / network / "config.json").unlink()
        with pytest.raises(CheckpointError, match=rf"{network}/config.json is missing"):
            load(folder)

    @pytest.mark.parametrize("text", ["{", "[1]", "", "\x00\xff"])
    def test_a_corrupt_config(self, folder: Path, network: str, text: str) -> None:
        (folder / network / "config.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(CheckpointError, match=rf"{network}/config.json"):
            load(folder)

    def test_a_config_of_another_network(self, folder: Path, network: str) -> None:
        path = folder / network / "config.json"
        edit_json(path, _class_name="FluxTransformer2DModel", model_type="dpt")
        with pytest.raises(CheckpointError, match=rf"{network} holds a (Flux|dpt)"):
            load(folder)

    def test_a_config_with_nonsense_in_it(self, folder: Path, network: str) -> None:
        path = folder / network / "config.json"
        edit_json(path, block_out_channels="abc", neck_hidden_sizes="abc")
        with pytest.raises(CheckpointError, match=rf"{network}.* can't be loaded"):
            load(folder)

    def test_truncated_safetensors(self, folder: Path, network: str) -> None:
        path = weights_of(folder, network)
        whole = path.read_bytes()
        for size in (0, 5000, len(whole) - 4):
            path.write_bytes(whole[:size])
            with pytest.raises(CheckpointError, match=r"\.safetensors can't be .* cut short"):
                load(folder)

    def test_a_git_lfs_pointer(self, folder: Path, network: str) -> None:
        path = weights_of(folder, network)
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
        with pytest.raises(CheckpointError, match="run git lfs pull"):
            load(folder)

    def test_a_truncated_bin(self, folder: Path, network: str) -> None:
        path = as_bin(folder, network)
        whole = path.read_bytes()
        for size in (0, 5000, len(whole) - 4):
            path.write_bytes(whole[:size])
            with pytest.raises(CheckpointError, match=r"\.bin can't be loaded: it is cut short"):
                load(folder)

    def test_code_in_a_bin_is_not_run(self, folder: Path, network: str) -> None:
        path, trace = as_bin(folder, network), folder / "ran"
        torch.save({"weight": Malicious(trace)}, path)
        with pytest.raises(CheckpointError, match=r"\.bin can't be loaded: .*more than tensors"):
            load(folder)
        path.write_bytes(pickle.dumps(Malicious(trace)))
        with pytest.raises(CheckpointError, match=r"\.bin can't be loaded"):
            load(folder)
        assert not trace.exists()

    def test_missing_keys_are_listed(self, folder: Path, network: str) -> None:
        path = weights_of(folder, network)
        edit_weights(path, lambda state: {k: state[k] for k in sorted(state)[6:]})
        with pytest.raises(CheckpointError, match=rf"{network}: .* 6 missing \(\w.*, \.\.\.\)"):
            load(folder)

    def test_unexpected_keys_are_listed(self, folder: Path, network: str) -> None:
        path = weights_of(folder, network)
        edit_weights(path, lambda state: {**state, "x.one": torch.ones(1), "x.two": torch.ones(1)})
        with pytest.raises(CheckpointError, match=rf"{network}: .* 2 unexpected \(x.one, x.two\)"):
            load(folder)

    def test_a_misfit_shape_is_named(self, folder: Path, network: str) -> None:
        path = weights_of(folder, network)
        keys = {"unet": "conv_in.bias", "vae": "encoder.conv_in.bias", "prior": "head.conv3.bias"}
        edit_weights(path, lambda state: {**state, keys[network]: torch.ones(99)})
        with pytest.raises(CheckpointError, match=rf"{keys[network]} has shape \[99\], expected"):
            load(folder)


# --- parts that don't go together ----------------------------------------------------------------


def test_a_unet_with_8_channels_needs_a_prior(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"8 channels.*--prior"):
        load(folder, prior="none")
    shutil.rmtree(folder / "prior")
    with pytest.raises(CheckpointError, match=r"no prior/ folder.*8 channels.*--prior"):
        load(folder)


def test_a_unet_with_4_channels_takes_no_prior(
    micro_spec: ModelSpec, micro_saved: Path, tmp_path: Path
) -> None:
    save_checkpoint(ApDepth.from_spec(without_prior(micro_spec)), tmp_path)
    with pytest.raises(CheckpointError, match=r"4 channels.*--prior none"):
        load(tmp_path, prior=str(micro_saved / "prior"), conventions="v1.1")


def test_conventions_without_a_prior_go_with_no_prior(
    micro_spec: ModelSpec, micro_saved: Path, tmp_path: Path
) -> None:
    save_checkpoint(ApDepth.from_spec(without_prior(micro_spec)), tmp_path)
    parts = {"unet": str(micro_saved / "unet"), "prior": str(micro_saved / "prior")}
    with pytest.raises(CheckpointError, match=r"apdepth.json .*without a prior"):
        load(tmp_path, **parts)
    assert load(tmp_path, **parts, conventions="v1.1").spec.conventions == CONVENTIONS["v1.1"]


def test_unknown_conventions_are_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"'v9': choose one of v1.1, normalized"):
        load(folder, conventions="v9")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"conventions": null}',
        '{"conventions": [1]}',
        '{"conventions": {"prior_siez": 518}}',
        '{"conventions": {"prior_output": "log"}}',
        '{"conventions": {"concat": ["rgb", "depth"]}}',
    ],
)
def test_a_bad_spec_file_is_an_error_that_names_it(folder: Path, text: str) -> None:
    (folder / "apdepth.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"apdepth.json"):
        load(folder)


@pytest.mark.parametrize("name", ["no/such/folder", "nothing", "unet/config.json"])
def test_a_name_that_is_no_checkpoint_is_an_error(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(CheckpointError):
        ApDepth.from_checkpoint(name)


def test_loading_prints_nothing(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No progress bars, no reports of the libraries, no advice to train: warnings fail as well."""
    for network in ("unet", "vae", "prior"):
        as_bin(folder, network)
    edit_json(folder / "unet" / "config.json", from_a_later_version=1)
    model = load(folder)
    save_checkpoint(model, tmp_path / "copy")
    edit_weights(tmp_path / "copy/prior/model.safetensors", lambda state: {"x": torch.ones(1)})
    with pytest.raises(CheckpointError):
        load(tmp_path / "copy")
    assert capfd.readouterr() == ("", "")
