"""Losses against independent float64 computations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch

from apdepth_deploy.errors import UsageError
from apdepth_deploy.training.losses import (
    gradient_matching_loss,
    latent_frequency_loss,
    latent_mask,
    latent_mse,
    pixel_l1,
    relative_disparity,
)

SIZES = [(8, 12), (9, 13), (8, 13), (1, 5), (60, 80)]


def latents(size: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    pred, target = (torch.randn(2, 4, *size, generator=generator) for _ in range(2))
    mask = torch.rand(2, 1, *size, generator=generator) > 0.3
    return pred, target, mask


def reference(
    pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None, p: int, high_pass: float
) -> float:
    """Eq. 7 to 11 as they are printed, frequency by frequency, in float64."""
    kept = np.ones(1) if mask is None else mask.double().numpy()
    spectra = [
        scipy.fft.fftshift(scipy.fft.fft2(x.double().numpy() * kept, axes=(-2, -1)), axes=(-2, -1))
        for x in (pred, target)
    ]
    height, width = pred.shape[-2:]
    radius = np.array(
        [
            [((u - height // 2) ** 2 + (v - width // 2) ** 2) ** 0.5 for v in range(width)]
            for u in range(height)
        ]
    )
    weight = 1 + high_pass * radius / (radius.max() + 1e-6)
    magnitudes = [np.abs(spectrum) for spectrum in spectra]
    return float(np.mean(weight * np.abs(magnitudes[0] - magnitudes[1]) ** p))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("high_pass", [1.0, 0.3])
def test_frequency_loss(size: tuple[int, int], p: int, masked: bool, high_pass: float) -> None:
    pred, target, mask = latents(size)
    chosen = mask if masked else None
    loss = latent_frequency_loss(pred, target, chosen, p=p, high_pass=high_pass)
    expected = reference(pred, target, chosen, p, high_pass)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_float64_stays_float64() -> None:
    pred, target, mask = (x.double() for x in latents((9, 13)))
    loss = latent_frequency_loss(pred, target, mask > 0)
    assert float(loss) == pytest.approx(reference(pred, target, mask > 0, 1, 1.0), rel=1e-13)


def test_frequency_loss_weighs_the_fine_twice_the_flat() -> None:
    flat = torch.ones(1, 1, 8, 8)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    fine = (1.0 - 2.0 * ((rows + columns) % 2))[None, None]
    zero = torch.zeros_like(flat)
    ratio = latent_frequency_loss(fine, zero) / latent_frequency_loss(flat, zero)
    assert float(ratio) == pytest.approx(2.0, rel=1e-5)


def test_frequency_loss_compares_magnitudes_alone() -> None:
    pred, target, _ = latents((8, 12))
    assert float(latent_frequency_loss(pred.roll(3, dims=-1), pred)) < 1e-5  # moved: other phases
    assert float(latent_frequency_loss(-target, target)) < 1e-6


def test_frequency_loss_has_a_gradient_everywhere_and_none_under_the_mask() -> None:
    pred, target, mask = latents((8, 12))
    pred.requires_grad_()
    latent_frequency_loss(pred, target, mask).backward()
    assert pred.grad is not None
    kept = mask.expand_as(pred)
    assert torch.isfinite(pred.grad).all()
    assert (pred.grad[~kept] == 0).all() and (pred.grad[kept] != 0).all()


def test_frequency_loss_is_float32_under_autocast() -> None:
    pred, target, _ = latents((8, 12))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = latent_frequency_loss(pred.bfloat16(), target.bfloat16())
    expected = reference(pred.bfloat16(), target.bfloat16(), None, 1, 1.0)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_latent_mse(masked: bool) -> None:
    pred, target, mask = latents((9, 13))
    squares = (pred.double() - target.double()).numpy() ** 2
    kept = np.broadcast_to(mask.numpy(), squares.shape) if masked else np.ones_like(squares) > 0
    loss = latent_mse(pred, target, mask if masked else None)
    assert float(loss) == pytest.approx(squares[kept].mean(), rel=1e-6)


def test_an_empty_mask_teaches_nothing() -> None:
    pred, target, mask = latents((8, 12))
    pred.requires_grad_()
    loss = latent_mse(pred, target, torch.zeros_like(mask))
    loss.backward()
    assert float(loss.detach()) == 0 and pred.grad is not None and (pred.grad == 0).all()


def test_latent_mask_wants_every_pixel_of_a_cell() -> None:
    valid = torch.ones(1, 16, 24, dtype=torch.bool)
    valid[0, 7, 8] = False
    expected = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    expected[0, 0, 0, 1] = False
    assert torch.equal(latent_mask(valid), expected)


def test_pixel_l1() -> None:
    pred, target, _ = (x[:, 0] for x in latents((9, 13)))
    valid = target > 0
    errors = (pred.double() - target.double()).abs().numpy()[valid.numpy()]
    assert float(pixel_l1(pred, target, valid)) == pytest.approx(errors.mean(), rel=1e-6)


def test_relative_disparity_is_that_of_float64() -> None:
    generator = torch.Generator().manual_seed(5)
    depth = torch.rand(2, 16, 24, generator=generator) * 9 + 1
    valid = torch.rand(2, 16, 24, generator=generator) > 0.2
    for known in (valid, torch.ones_like(valid)):  # the rest: unknown, or sky
        found = relative_disparity(depth, valid, known)
        for i in range(2):
            disparity = np.where(valid[i], 1 / depth[i].double().numpy(), 0.0)
            low, high = np.quantile(disparity[known[i].numpy()], [0.02, 0.98])
            expected = np.clip((disparity - low) / (high - low), 0, 1)
            np.testing.assert_allclose(found[i], expected, atol=1e-5)
    assert not found[~valid].any()
    nothing = torch.zeros_like(valid)
    assert torch.isfinite(relative_disparity(depth, nothing, nothing)).all()


def test_gradient_matching_sees_edges() -> None:
    target = torch.zeros(1, 16, 16)
    target[:, :, 8:] = 1.0
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    smooth = torch.arange(16).expand(1, 16, 16) / 15.0
    assert float(gradient_matching_loss(target + 5, target, valid)) < 1e-5
    # By hand at one scale: 14 of 15 steps across differ by 1/15, the one at the edge by 14/15.
    found = gradient_matching_loss(smooth, target, valid, scales=1)
    assert float(found) == pytest.approx(28 / 15 / 15, rel=1e-5)
    half = valid.clone()
    half[:, :, 8:] = False
    found = gradient_matching_loss(smooth, target, half, scales=1)
    assert float(found) == pytest.approx(1 / 15, rel=1e-5)


def test_wrong_shapes_and_exponents_are_refused() -> None:
    pred, target, _ = latents((8, 12))
    with pytest.raises(UsageError, match="differ in shape"):
        latent_frequency_loss(pred, target[:, :3])
    with pytest.raises(UsageError, match="1 or 2"):
        latent_frequency_loss(pred, target, p=3)
