"""W * x + b + P silu(e) = W * x + (b + P silu(e)).

The U-Net runs at one timestep, so its embedding e is a constant. A bias is added after the padding:
this holds at the borders too. The embedding's layers and every ResNet's projection P go.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D, ResnetBlockCondNorm2D
from torch import Tensor, nn

from apdepth_deploy.model import ApDepth

from .exact import exact, rounded


def timestep_into_biases(model: ApDepth) -> str | None:
    """Every ResNet's first convolution takes the shift; ``time_embedding`` gives None."""
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
