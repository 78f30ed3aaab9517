"""Precision is put into the model before it is traced: graphs come out strongly typed.

float32 islands, whatever the networks' precision: input normalisation, resizes, min-max, the
final clip and the seams (all in ``model/``), and here the softmax in a U-Net whose configuration
says ``upcast_attention`` (Stable Diffusion 2.1's does: its unscaled QK^T overflows float16).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def prepare(model: ApDepth, precision: str, size: tuple[int, int] | None) -> ApDepth:
    """Ready a model for tracing, in place.

    Args:
        precision: "fp32", "fp16" or "bf16".
        size: (height, width) of a static graph, whose constants can be worked out now.
    """
    if model.prior is not None:
        # The fused kernel's decomposition guards against rows of -inf; there is no mask here.
        model.prior.net.set_attn_implementation("eager")
        model.prior.resize_dtype = torch.float32  # TensorRT has no float64
        if size is not None:
            model.prior.freeze_positions(*size)
    # Every size on the way up is taken from the skip connections, for any frame.
    model.unet.num_upsamplers = 30
    _replace(model, Upsample2D, UpsampleToSize)
    model.to(DTYPES[precision])
    if precision == "fp32":
        _replace(model, nn.GroupNorm, TwoPassGroupNorm)
    if precision == "bf16":
        _replace(model, nn.ConvTranspose2d, SpreadConv)
    if precision != "fp32" and model.unet.config.upcast_attention:
        model.unet.set_attn_processor(Float32Softmax())
    return model


class Float32Softmax:
    """diffusers' attention with Q scaled before QK^T, and the softmax in float32.

    Scaling first (by a power of two at Stable Diffusion's head size: exact) keeps QK^T in
    float16's range. TensorRT fuses this form into one kernel, which holds QK^T in float32 up to
    the softmax. It does not fuse a float32 QK^T: at 480x640 the scores would fill 461 MB, and
    Turing has no float32 matrix product at all.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """[B,N,C] (and text [B,T,C']) -> [B,N,C]."""
        assert attention_mask is None, "this model attends everywhere"
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            _heads(projection(x), attn.heads)
            for projection, x in (
                (attn.to_q, hidden_states),
                (attn.to_k, context),
                (attn.to_v, context),
            )
        )
        scores = torch.matmul(query * attn.scale, key.transpose(-1, -2))
        weights = F.softmax(scores.float(), dim=-1).to(value.dtype)
        mixed = torch.matmul(weights, value).transpose(1, 2).flatten(2)
        output: Tensor = attn.to_out[0](mixed)
        return output


def _heads(x: Tensor, heads: int) -> Tensor:
    """[B,N,C] -> [B,heads,N,C/heads]."""
    batch, tokens, channels = x.shape
    return x.reshape(batch, tokens, heads, channels // heads).transpose(1, 2)


class TwoPassGroupNorm(nn.Module):
    """GroupNorm spelled out, each mean taken axis by axis: of rows, of columns, of channels.

    ONNX defines GroupNormalization by E[x^2] - E[x]^2, and ONNX Runtime sums that over a whole
    group in one float32 accumulator: on a 480x640 photo the result is off by 1e-4. This form has a
    tenth of that error at the same speed. Half precision keeps the single node, which TensorRT
    fuses.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.num_groups, self.eps = norm.num_groups, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,...] -> the same shape."""
        batch, channels = x.shape[:2]
        affine = (1, self.num_groups, channels // self.num_groups) + (1,) * (x.ndim - 2)
        grouped = x.reshape(batch, *affine[1:3], *x.shape[2:])
        centred = grouped - _mean_of_groups(grouped)
        deviation = torch.rsqrt(_mean_of_groups(centred * centred) + self.eps)
        scale = deviation * self.weight.reshape(affine)
        return (centred * scale + self.bias.reshape(affine)).reshape(x.shape)


def _mean_of_groups(grouped: Tensor) -> Tensor:
    """[B,G,...] -> mean of each group, in steps that keep the partial sums small."""
    for axis in reversed(range(2, grouped.ndim)):
        grouped = grouped.mean(axis, keepdim=True)
    return grouped


class UpsampleToSize(nn.Module):
    """diffusers' nearest upsampling with its convolution, for any size.

    diffusers compares height's factor with width's, and the number of elements with 2^31, to choose
    a memory layout. Where a graph takes a range of sizes neither is known while it is traced: a
    frame whose sides aren't both multiples of 64 could then not be its opt size.
    """

    def __init__(self, upsample: Upsample2D) -> None:
        super().__init__()
        assert upsample.norm is None and not upsample.use_conv_transpose and upsample.interpolate
        self.conv = upsample.conv

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """[B,C,H,W] -> [B,C',*output_size], by default [B,C',2H,2W]."""
        factor = 2.0 if output_size is None else None
        larger = F.interpolate(x, size=output_size, scale_factor=factor, mode="nearest")
        output: Tensor = self.conv(larger)
        return output


class SpreadConv(nn.Module):
    """A transposed convolution whose kernel is its stride: a 1x1 convolution and a pixel shuffle.

    The windows don't overlap, so the two are equal. TensorRT for RTX has no transposed convolution
    in bfloat16; Depth Anything's neck has two.
    """

    def __init__(self, conv: nn.ConvTranspose2d) -> None:
        super().__init__()
        factor = conv.stride[0]
        assert conv.kernel_size == conv.stride == (factor, factor), "windows overlap"
        assert conv.padding == conv.output_padding == (0, 0) and conv.groups == 1
        assert conv.bias is not None
        inputs = conv.in_channels
        weight = conv.weight.detach().permute(1, 2, 3, 0).reshape(-1, inputs, 1, 1)
        self.factor = factor
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = nn.Parameter(conv.bias.detach().repeat_interleave(factor * factor))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',s*H,s*W]."""
        return F.pixel_shuffle(F.conv2d(x, self.weight, self.bias), self.factor)


def _replace(module: nn.Module, kind: type[nn.Module], by: Callable[[Any], nn.Module]) -> None:
    """Put ``by(child)`` in place of every child of a kind, at any depth."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, by(child))
        else:
            _replace(child, kind, by)
