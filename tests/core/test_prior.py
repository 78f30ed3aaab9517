"""The prior's own steps: normalising, position table, resizing, stretching."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from apdepth_deploy.checkpoint import load_prior
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.networks import empty_model
from apdepth_deploy.model.prior import Prior, bicubic, stretch
from apdepth_deploy.spec import CONVENTIONS, ModelSpec


def frames(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)


def test_normalized_conventions_are_those_of_the_transformers_model(micro_saved: Path) -> None:
    """ImageNet statistics, transformers' own position table, and min-max to [-1, 1]."""
    path, images = str(micro_saved / "prior"), frames(2, 64, 88)
    rgb = images.permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (rgb - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    x = F.interpolate(x, (70, 98), mode="bilinear", align_corners=True)
    with torch.no_grad():
        disparity = load_prior(path).double()(x).predicted_depth[:, None]
        pictures = Prior(load_prior(path), CONVENTIONS["normalized"]).double()(images)
    disparity = F.interpolate(disparity, (64, 88), mode="bilinear", align_corners=True)
    for picture, found in zip(disparity, pictures, strict=True):
        expected = (picture - picture.min()) / (picture.max() - picture.min()) * 2 - 1
        torch.testing.assert_close(found.double(), expected.repeat(3, 1, 1), rtol=0, atol=1e-6)


def test_a_wide_frame_is_sampled_where_it_should_be(micro_saved: Path) -> None:
    """In float32 PyTorch's places drift to 4e-5 of a pixel, which noise shows."""
    conventions, images = CONVENTIONS["v1.1"], frames(1, 8, 640)
    prior = Prior(load_prior(str(micro_saved / "prior")), conventions)
    seen: list[Tensor] = []
    patches = prior.net.backbone.embeddings.patch_embeddings
    patches.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        prior(images)
    rgb = images.permute(0, 3, 1, 2).double() / 255
    mean, std = conventions.prior_mean, conventions.prior_std
    normalised = (rgb - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    size = seen[0].shape[2:]
    assert size[1] != 640
    expected = F.interpolate(normalised, size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(seen[0].double(), expected, rtol=0, atol=2e-6)


def test_half_precision_is_the_networks_alone(micro_saved: Path, frame: Tensor) -> None:
    """The picture that goes in is normalised in float32 with exact constants."""
    prior = Prior(load_prior(str(micro_saved / "prior")), CONVENTIONS["normalized"])
    seen: list[Tensor] = []
    patches = prior.net.backbone.embeddings.patch_embeddings
    patches.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        prior(frame)
        prior.bfloat16()(frame)
    assert torch.equal(seen[1], seen[0].bfloat16())


@pytest.mark.parametrize("count", [3, 5, 6, 7, 37, 46])
@pytest.mark.parametrize("size", [1, 2, 5, 11, 46, 92])
def test_bicubic_places_samples_by_the_scale(count: int, size: int) -> None:
    x = torch.randn(count, 4, 2, generator=torch.Generator().manual_seed(0))
    for offset in (0.0, 0.1):
        scale = ((size + offset) / count, 1.0)
        image = x.permute(2, 0, 1)[None]
        expected = F.interpolate(image, scale_factor=scale, mode="bicubic")[0].permute(1, 2, 0)
        # Positions up to 46 in float32 are good to 4e-6, and noise is steep between its points.
        torch.testing.assert_close(bicubic(x, size, offset), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("size", [(64, 88), (70, 70)])
def test_frozen_positions_change_nothing(micro_spec: ModelSpec, size: tuple[int, int]) -> None:
    prior = ApDepth.from_spec(micro_spec).prior
    assert prior is not None
    frozen = copy.deepcopy(prior)
    frozen.freeze_positions(*size)
    images = frames(1, *size)
    assert torch.equal(frozen(images), prior(images))


def test_stretch_takes_each_image_to_its_own_range() -> None:
    disparity = torch.stack([torch.arange(12.0), 7 * torch.arange(12.0) + 3, torch.full((12,), 5)])
    low, high, flat = stretch(disparity.view(3, 1, 3, 4)).flatten(1)
    torch.testing.assert_close(low, torch.linspace(-1, 1, 12))
    torch.testing.assert_close(high, low)
    assert torch.equal(flat, torch.full((12,), -1.0))


@pytest.mark.parametrize(
    ("side", "frame", "size"),
    [
        (None, (480, 640), (490, 644)),  # the authors': rounded up
        (None, (490, 644), (490, 644)),
        (518, (480, 640), (518, 686)),  # 690.7 is nearer to 686 than to 700
        (518, (640, 480), (686, 518)),
        (518, (1080, 1920), (518, 924)),
        (510, (480, 640), (518, 686)),  # never below the side: 504 would be
    ],
)
def test_the_input_size_is_a_multiple_of_the_patch(
    micro_spec: ModelSpec, side: int | None, frame: tuple[int, int], size: tuple[int, int]
) -> None:
    conventions = dataclasses.replace(micro_spec.conventions, prior_side=side)
    spec = dataclasses.replace(micro_spec, conventions=conventions)
    prior = empty_model(spec).prior
    assert prior is not None
    assert prior.input_size(*frame) == size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_means_go_where_the_networks_go_and_are_not_rounded(
    micro_saved: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = Prior(load_prior(str(micro_saved / "prior")), CONVENTIONS["normalized"]).to(dtype)
    assert prior.net.dtype == dtype
    for found, expected in (
        (prior.mean, [0.485, 0.456, 0.406]),
        (prior.std, [0.229, 0.224, 0.225]),
    ):
        assert found.flatten().tolist() == torch.tensor(expected).tolist()
    assert not [name for name in prior.state_dict() if "mean" in name or "std" in name]

    def made(*values: object, **options: object) -> Tensor:
        raise AssertionError(
            "a frame's way makes a tensor on the host: no CUDA graph captures that"
        )

    monkeypatch.setattr(torch, "tensor", made)
    with torch.no_grad():
        assert prior(frames(1, 64, 88)).dtype == torch.float32
    monkeypatch.undo()
    assert prior.to("meta").mean.is_meta
