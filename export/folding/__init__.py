"""Exact folding: what is constant at inference is worked out once, at export.

Each fold is an identity of real numbers, a file each that starts with it, done in float64 and
rounded once to the weights' type. Nothing is approximated, and the seams keep their meaning. Works
on the meta device too, for counting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from diffusers import AutoencoderTiny
from torch import Tensor

from apdepth_deploy.model import ApDepth

from .cross_attention import cross_attention_into_sigmoid
from .decoder_scale import latent_scale_into_decoder
from .depth import depth_into_decoder
from .encoder_scale import latent_scale_into_encoder
from .feed_forward_bias import feed_forward_bias_into_projection
from .key_bias import key_bias_out_of_softmax
from .layer_scale import layer_scale_into_linears
from .pixel_linears import pixel_linears_into_convolutions
from .timestep import timestep_into_biases
from .tiny_ranges import ranges_into_tiny_decoder
from .upsampling import upsampling_into_convolution
from .value_bias import value_bias_into_output
from .zero_mask import zero_mask_out_of_prior

#: Changes the model in place; returns why it can't (and has changed nothing), or None.
Fold = Callable[[ApDepth], str | None]


@dataclasses.dataclass(frozen=True)
class Folded:
    """What ``fold`` did: names of the folds, and for those that don't fit this model why not."""

    applied: tuple[str, ...] = ()
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)


class FoldedApDepth(ApDepth):
    """ApDepth whose VAE takes and gives what the seams carry.

    ``vae.encoder`` gives the scaled latent, ``decoding_vae.decoder`` takes it and gives depth
    - 1/2. The last 1/2 is added in float32: a float16 has 11 bits, and near 1/2 the first of them
    would be spent on saying so.
    """

    def encode_picture(self, picture: Tensor) -> Tensor:
        """See ``ApDepth.encode_picture``."""
        latent: Tensor = self.vae.encoder(picture.to(self.dtype))
        return latent.float()

    def decode(self, latent: Tensor) -> Tensor:
        """See ``ApDepth.decode``."""
        centred: Tensor = self.decoding_vae.decoder(latent.to(self.dtype))
        return (centred.squeeze(1).float() + 0.5).clamp(0.0, 1.0)


def fold(model: ApDepth) -> Folded:
    """Fold every constant of a model, in place: it computes the same with less."""
    reasons = {each.__name__: each(model) for each in folds_of(model)}
    model.__class__ = FoldedApDepth
    return Folded(
        applied=tuple(name for name, reason in reasons.items() if reason is None),
        skipped={name: reason for name, reason in reasons.items() if reason is not None},
    )


def folds_of(model: ApDepth) -> Iterator[Fold]:
    """The folds of the parts that a model has."""
    if model.prior is not None:
        yield zero_mask_out_of_prior
        yield layer_scale_into_linears
    yield key_bias_out_of_softmax
    yield value_bias_into_output
    yield latent_scale_into_encoder
    yield timestep_into_biases
    yield cross_attention_into_sigmoid
    yield feed_forward_bias_into_projection
    yield pixel_linears_into_convolutions
    if isinstance(model.decoding_vae, AutoencoderTiny):
        yield ranges_into_tiny_decoder
    yield latent_scale_into_decoder
    yield depth_into_decoder
    yield upsampling_into_convolution
