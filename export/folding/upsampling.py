"""A 3x3 kernel over pixels doubled by nearest neighbour sees 2x2 different ones.

Along one axis, with weights w0, w1, w2 and zeros around:

    y[2i]     = w0 x[i-1] + (w1 + w2) x[i]
    y[2i + 1] = (w0 + w1) x[i] + w2 x[i+1]

So one 2x2 convolution with four times the outputs, and a pixel shuffle, stand for both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def upsampling_into_convolution(model: ApDepth) -> None:
    """The decoder multiplies each pixel once instead of each of its copies.

    The U-Net keeps its own three: they would save 44 of a frame's GFLOP (``small``, 480x640) and
    cost 26 million parameters.
    """
    for layers in list(model.decoding_vae.decoder.modules()):
        if not isinstance(layers, (nn.Sequential, nn.ModuleList)):
            continue
        for i, layer in enumerate(layers):
            if isinstance(layer, Upsample2D):
                layers[i] = DoublingConvolution(layer.conv)
            elif isinstance(layer, nn.Upsample):  # AutoencoderTiny: the convolution comes after it
                conv = layers[i + 1]
                assert isinstance(conv, nn.Conv2d)
                layers[i], layers[i + 1] = nn.Identity(), DoublingConvolution(conv)


class DoublingConvolution(nn.Module):
    """A 3x3 convolution of the map doubled by nearest neighbour, zeros around it.

    Args:
        conv: that convolution.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.kernel_size == (3, 3) and conv.padding == (1, 1) and conv.groups == 1
        outputs, inputs = conv.weight.shape[:2]
        # [O,I,y,x] -> [O,I,y,b,tx] -> [O,I,b,tx,a,ty], with phases a, b and taps ty, tx.
        taps = _phases(_phases(exact(conv.weight)).movedim(2, -1))
        # With padding 1, place i of the convolution sees x at i - 1 and i: it is the even phase's
        # 2i and the odd one's 2i - 1. So odd goes first, and the shuffle's first row is cut off.
        weight = taps.permute(0, 4, 2, 1, 5, 3).flip(1, 2).reshape(4 * outputs, inputs, 2, 2)
        has_bias = conv.bias is not None
        self.conv = nn.Conv2d(inputs, 4 * outputs, 2, padding=1, bias=has_bias, device="meta")
        self.conv.weight = rounded(weight, conv.weight)
        if conv.bias is not None:
            self.conv.bias = rounded(conv.bias.detach().repeat_interleave(4), conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',2H,2W]."""
        return F.pixel_shuffle(self.conv(x), 2)[:, :, 1:-1, 1:-1]


def _phases(weight: Tensor) -> Tensor:
    """[..., 3] -> [..., 2, 2]: (even, odd) place, and its two taps."""
    w0, w1, w2 = weight.unbind(-1)
    even = torch.stack([w0, w1 + w2], -1)
    odd = torch.stack([w0 + w1, w2], -1)
    return torch.stack([even, odd], -2)
