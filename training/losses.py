"""Losses, in torch, never below float32, whatever the training runs in. Latents are [B,C,h,w]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from apdepth_deploy.errors import UsageError

_EPS = 1e-6


def latent_mse(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of latents over the elements where ``mask`` is set (paper, eq. 5).

    Args:
        pred, target: [B,C,h,w].
        mask: bool [B,1,h,w] or [B,C,h,w]; None = everywhere. Where it is empty the loss is 0.
    """
    _check(pred, target)
    error = (_at_least_float32(pred) - _at_least_float32(target)) ** 2
    return error.mean() if mask is None else _masked_mean(error, mask)


def latent_frequency_loss(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None = None,
    p: int = 1,
    high_pass: float = 1.0,
) -> Tensor:
    """Weighted distance of two latents' magnitude spectra (paper, eq. 7 to 11), a scalar.

    The mean over all frequencies, channels and images of ``w * ||FFT(pred)| - |FFT(target)||^p``,
    with w = 1 + high_pass * r / (r_max + eps) and r the distance from the middle of the shifted
    spectrum, (h // 2, w // 2): what is fine counts up to twice as much. Phases don't count.

    Args:
        pred, target: [B,C,h,w].
        mask: bool [B,1,h,w] or [B,C,h,w]: elsewhere both are set to 0 first.
        p: 1 or 2.
        high_pass: lambda of eq. 10.

    Raises UsageError where shapes differ or ``p`` is another number.
    """
    _check(pred, target)
    if p not in (1, 2):
        raise UsageError(f"p must be 1 or 2, not {p}")
    difference = _magnitudes(pred, mask) - _magnitudes(target, mask)
    weight = _high_pass(pred.shape[-2], pred.shape[-1], high_pass, difference)
    loss: Tensor = (weight * difference.abs() ** p).mean()
    return loss


def _magnitudes(latent: Tensor, mask: Tensor | None) -> Tensor:
    """Eq. 7 and 8: |FFTShift(FFT2(latent))|, [B,C,h,w], of what the mask keeps."""
    latent = _at_least_float32(latent)
    kept = latent if mask is None else latent * mask
    spectrum: Tensor = torch.fft.fftshift(torch.fft.fft2(kept), dim=(-2, -1))
    return spectrum.abs()


def _high_pass(height: int, width: int, strength: float, like: Tensor) -> Tensor:
    """Eq. 10: [h,w], 1 at zero frequency, rising linearly to 1 + strength in the corner."""
    y = torch.arange(height, device=like.device, dtype=like.dtype) - height // 2
    x = torch.arange(width, device=like.device, dtype=like.dtype) - width // 2
    radius = torch.hypot(y[:, None], x[None])
    return 1.0 + strength * radius / (radius.max() + _EPS)


def latent_mask(valid: Tensor, stride: int = 8) -> Tensor:
    """bool [B,H,W] -> bool [B,1,h,w]: latents that see valid pixels only."""
    invalid = (~valid)[:, None].float()
    return F.max_pool2d(invalid, stride) == 0


def pixel_l1(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error of depth [B,H,W] over its valid pixels; 0 where there are none."""
    _check(pred, target)
    return _masked_mean((_at_least_float32(pred) - _at_least_float32(target)).abs(), valid)


def relative_disparity(depth: Tensor, valid: Tensor, known: Tensor) -> Tensor:
    """Depth in metres, above 0 where ``valid`` -> disparity in 0 (far) to 1, [B,H,W] each.

    Each image's 2% and 98% quantiles over ``known`` become 0 and 1, and what lies beyond them, too;
    what is known but not valid is at infinity.
    """
    disparity = torch.where(valid, 1.0 / depth.clamp_min(_EPS), 0.0)
    kept = torch.where(known, disparity, torch.nan).flatten(1)
    ends = kept.new_tensor([0.02, 0.98])
    low, high = torch.nanquantile(kept, ends, dim=1).nan_to_num()[..., None, None]
    relative: Tensor = ((disparity - low) / (high - low).clamp_min(_EPS)).clamp(0.0, 1.0)
    return relative


def gradient_matching_loss(pred: Tensor, target: Tensor, valid: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute gradient of the difference, summed over ``scales`` halvings; [B,H,W] each.

    MiDaS (arXiv:1907.01341), eq. 11: edges where the truth has them.
    """
    _check(pred, target)
    difference = _at_least_float32(pred) - _at_least_float32(target)
    total = difference.new_zeros(())
    for scale in range(scales):
        d, v = difference[:, :: 2**scale, :: 2**scale], valid[:, :: 2**scale, :: 2**scale]
        total = total + _masked_mean(d.diff(dim=2).abs(), v[:, :, 1:] & v[:, :, :-1])
        total = total + _masked_mean(d.diff(dim=1).abs(), v[:, 1:] & v[:, :-1])
    return total


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def _check(pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape:
        raise UsageError(
            f"prediction {list(pred.shape)} and target {list(target.shape)} differ in shape"
        )
