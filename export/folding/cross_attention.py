"""Constants of the U-Net: it runs once, at one timestep, beside one text."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def timestep_into_biases(model: ApDepth) -> str | None:
    """conv1(x) + P silu(e) = conv1 with the bias c + P silu(e): e is t's embedding, a constant.

    The embedding's layers and every ResNet's projection P go.
    """
    unet = model.unet
    config = unet.config
    more = (config.class_embed_type, config.num_class_embeds, config.addition_embed_type)
    if any(more) or config.time_embedding_act_fn or config.resnet_time_scale_shift != "default":
        return "the U-Net's ResNets take more than a shift by the timestep"
    if any(isinstance(block, ResnetBlockCondNorm2D) for block in unet.modules()):
        return "the U-Net's ResNets normalise by the timestep"
    embedding = _time_embedding(unet, model.spec.conventions.timestep)
    for block in unet.modules():
        if isinstance(block, ResnetBlock2D):
            _fold_shift(block, embedding)
    unet.time_embedding = NoTimeEmbedding()
    return None


def _time_embedding(unet: UNet2DConditionModel, timestep: int) -> Tensor:
    """The embedding [1, C] of a timestep, in float64."""
    device = unet.conv_in.weight.device
    sample = torch.empty(1, dtype=torch.float64, device=device)
    layers = copy.deepcopy(unet.time_embedding).double()
    embedding: Tensor = layers(unet.get_time_embed(sample, timestep))
    return embedding.detach()


def _fold_shift(block: ResnetBlock2D, embedding: Tensor) -> None:
    projection, bias = block.time_emb_proj, block.conv1.bias
    active = embedding if block.skip_time_act else block.nonlinearity(embedding)
    shift = F.linear(active, exact(projection.weight), exact(projection.bias))[0]
    block.conv1.bias = rounded(exact(bias) + shift, bias)
    block.time_emb_proj = None


class NoTimeEmbedding(nn.Module):
    """In place of the time embedding: ResNets without a projection take none."""

    def forward(self, sample: Tensor, condition: Tensor | None = None) -> None:
        return None


def cross_attention_into_sigmoid(model: ApDepth) -> str | None:
    """softmax over two scores = sigmoid of their difference, and the text is a constant."""
    tokens = model.text_embedding.shape[1]
    if tokens != 2:
        return f"the text embedding has {tokens} tokens, not 2"
    for block in list(model.unet.modules()):
        if isinstance(getattr(block, "attn2", None), Attention):
            block.attn2 = SigmoidAttention(block.attn2, model.text_embedding)
    return None


class SigmoidAttention(nn.Module):
    """Attention to two constant tokens: sigmoid(x S^T + s) U^T + b.

    With q = Q x and the tokens' keys k0, k1 and values v0, v1, head h gives v1 + w (v0 - v1), where
    w = sigmoid(scale q (k0 - k1)). So row h of S is scale (k0 - k1)^T Q (its head's rows), column h
    of U is O (v0 - v1) (its head's columns), and b = O v1 + o. s is 0 where Q has no bias.
    """

    score_bias: Tensor | None

    def __init__(self, attention: Attention, text: Tensor) -> None:
        """``text`` is [1, 2, C']."""
        super().__init__()
        heads = attention.heads
        query, out = attention.to_q, attention.to_out[0]
        keys, values = (_project(layer, text) for layer in (attention.to_k, attention.to_v))
        apart = attention.scale * (keys[0] - keys[1]).reshape(heads, -1, 1)
        score = (exact(query.weight).reshape(heads, apart.shape[1], -1) * apart).sum(1)
        difference = (values[0] - values[1]).reshape(heads, -1)
        value = (exact(out.weight).reshape(-1, *difference.shape) * difference).sum(2)
        bias = F.linear(values[1], exact(out.weight), exact(out.bias))
        self.score, self.value = rounded(score, query.weight), rounded(value, out.weight)
        self.bias = rounded(bias, out.bias)
        self.score_bias = None
        if query.bias is not None:
            shift = (exact(query.bias).reshape(heads, -1, 1) * apart).sum((1, 2))
            self.score_bias = rounded(shift, query.bias)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """[B,N,C] -> [B,N,C]; the text is in the weights."""
        weights = F.linear(hidden_states, self.score, self.score_bias).sigmoid()
        return F.linear(weights, self.value, self.bias)


def _project(layer: nn.Linear, text: Tensor) -> Tensor:
    """[1,2,C'] -> keys or values [2, C] in float64."""
    bias = None if layer.bias is None else exact(layer.bias)
    return F.linear(exact(text)[0], exact(layer.weight), bias)


def feed_forward_bias_into_projection(model: ApDepth) -> None:
    """P (F y + f + x) + p = P (F y + x) + (P f + p): only proj_out P comes after the last block."""
    for transformer in model.unet.modules():
        if isinstance(transformer, Transformer2DModel):
            feed_forward = transformer.transformer_blocks[-1].ff
            last = [layer for layer in feed_forward.modules() if isinstance(layer, nn.Linear)][-1]
            projection = transformer.proj_out
            shift = exact(projection.weight).flatten(1) @ exact(last.bias)
            projection.bias = rounded(exact(projection.bias) + shift, projection.bias)
            last.register_parameter("bias", None)


def pixel_linears_into_convolutions(model: ApDepth) -> str | None:
    """A linear layer at every pixel is a 1x1 convolution, whose bias costs no pass of its own."""
    if not model.unet.config.use_linear_projection:
        return "the U-Net has convolutions there already"
    for transformer in model.unet.modules():
        if isinstance(transformer, Transformer2DModel):
            transformer.proj_in = _pointwise(transformer.proj_in)
            transformer.proj_out = _pointwise(transformer.proj_out)
            transformer.use_linear_projection = False
    return None


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    with torch.device("meta"):
        conv = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
    conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None], requires_grad=False)
    conv.bias = linear.bias
    return conv
