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

from apdepth_deploy.checkpoint import load_prior, save_checkpoint
from apdepth_deploy.errors import CheckpointError, UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.loading import load_model
from apdepth_deploy.model.networks import new_vae
from apdepth_deploy.spec import CONVENTIONS, ModelSource, ModelSpec, tiny_vae_layout, without_prior

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


# --- networks of another kind: the same tensors, and another meaning -----------------------------

KINDS = [
    ("prior", {"depth_estimation_type": "metric"}, "metric depth is near = small: use Depth Anyth"),
    ("prior", {"max_depth": 20}, "max_depth is 20, but only metric models have one"),
    ("prior", {"backbone": "vit_small_patch14_dinov2"}, "a DINOv2 described in backbone_config"),
    ("prior", {"patch_size": 16}, "patches of 16, but its backbone 14"),
    ("prior/backbone", {"model_type": "dinov2_with_registers"}, "DINOv2, without registers"),
    ("prior/backbone", {"model_type": "swin"}, "stands on DINOv2"),
    ("prior/backbone", {"num_channels": 4}, "must see RGB"),
    ("prior/backbone", {"apply_layernorm": False}, "must be true"),
    ("prior/backbone", {"reshape_hidden_states": True}, "must be false"),
    ("unet", {"out_channels": 8}, "the 4 channels of a depth latent"),
    ("unet", {"num_class_embeds": 4}, "a latent, a timestep and a text, and nothing more"),
    ("unet", {"addition_embed_type": "text_time"}, "a latent, a timestep and a text"),
    ("unet", {"in_channels": 9}, "in_channels is 9, but it must take the picture's"),
    ("vae", {"latent_channels": 16}, "latents of 4"),
    ("vae", {"in_channels": 4}, "must encode RGB"),
    ("vae", {"out_channels": 1}, "a picture of 3 channels"),
    ("vae", {"shift_factor": 0.0609}, "a scale alone"),
    ("vae", {"latents_mean": [0.0] * 4}, "one scale for all"),
    ("vae", {"use_quant_conv": False}, "goes through quant_conv"),
    ("vae", {"scaling_factor": 0.13025}, "latents of scale 0.18215: put that VAE there"),
]


@pytest.mark.parametrize(("network", "changes", "said"), KINDS, ids=lambda value: str(value)[:40])
def test_a_network_of_another_kind_is_refused_and_named(
    folder: Path, network: str, changes: dict[str, Any], said: str
) -> None:
    name, _, part = network.partition("/")
    path = folder / name / "config.json"
    if part:
        changes = {
            "backbone_config": {**json.loads(path.read_text())["backbone_config"], **changes}
        }
    edit_json(path, **changes)
    with pytest.raises(CheckpointError, match=said) as caught:
        load(folder)
    assert "Traceback" not in str(caught.value) and str(folder / name) in str(caught.value)


def test_what_its_library_writes_of_the_right_kind_is_taken(folder: Path) -> None:
    """With every default spelled out."""
    edit_json(folder / "prior" / "config.json", depth_estimation_type="relative", max_depth=None)
    edit_json(folder / "vae" / "config.json", shift_factor=None, latents_mean=None)
    load(folder)


def test_an_original_metric_file_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "depth_anything_v2_metric_hypersim_vits.pth"
    torch.save({}, path)
    with pytest.raises(CheckpointError, match=r"metric model by its name.*depth_anything_v2_vits"):
        load_prior(str(path))


@pytest.mark.parametrize(
    ("kind", "channels", "refused"),
    [
        ("StableDiffusionPipeline", 4, True),
        ("StableDiffusionPipeline", 8, False),  # a base with a trained U-Net put in
        ("StableDiffusionInstructPix2PixPipeline", 8, True),
        ("MarigoldDepthPipeline", 8, True),
        ("MarigoldNormalsPipeline", 8, True),
        ("MarigoldPipeline", 8, False),  # the authors', after the code that theirs grew from
        ("ApDepthPipeline", 8, False),
    ],
)
def test_a_pipeline_for_another_job_is_refused(
    micro_spec: ModelSpec, folder: Path, kind: str, channels: int, refused: bool
) -> None:
    if channels == 4:
        ApDepth.from_spec(without_prior(micro_spec)).unet.save_pretrained(folder / "unet")
        shutil.rmtree(folder / "prior")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    if not refused:
        load_model(ModelSource(str(folder)))
        return
    with pytest.raises(CheckpointError, match=f"is a {kind}: its U-Net was not trained for ApDep"):
        load_model(ModelSource(str(folder)))
    load_model(ModelSource(str(folder), unet=str(folder / "unet")))
    save_checkpoint(load(folder), folder)
    load_model(ModelSource(str(folder)))  # with our apdepth.json it is ours


def test_another_vae_for_one_side_has_the_same_stride(
    micro_spec: ModelSpec, folder: Path, tmp_path: Path
) -> None:
    vae = tiny_vae_layout(8) | {
        key: [8] * 3 for key in ("encoder_block_out_channels", "decoder_block_out_channels")
    }
    vae |= {key: [1] * 3 for key in ("num_encoder_blocks", "num_decoder_blocks")}
    new_vae(vae).save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match="a latent for 8 pixels, and the one that decodes fo"):
        load(folder, vae=str(tmp_path / "vae"), vae_side="decoder")


# --- what a checkpoint says of itself ------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [5, [5], [[64]], [[64, 0]], ["ab"], [[64, 1e9]], [[64, 2**40]], None]
)
def test_sizes_in_training_that_are_none_are_an_error(folder: Path, said: Any) -> None:
    save_checkpoint(load(folder), folder)
    edit_json(folder / "apdepth.json", trained_at=said)
    with pytest.raises(CheckpointError, match=r"apdepth\.json|trained_at"):
        load(folder)


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
