"""ApDepth in PyTorch: the reference that every graph and engine is measured against.

The networks are diffusers' and transformers'; this file only joins them (paper, figure 2).
It knows nothing about files: ``apdepth_deploy.checkpoint`` reads the networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor, nn

from apdepth_deploy.checkpoint import load_checkpoint
from apdepth_deploy.errors import UsageError
from apdepth_deploy.model.prior import Prior
from apdepth_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import DepthAnythingForDepthEstimation

#: The seams of the model, in order: one graph each in a staged bundle, one key each in ``.stages``.
STAGES = ("prior", "encoder", "unet", "decoder")


class ApDepth(nn.Module):
    """One picture in, one depth map out, one U-Net step (paper, eq. 6).

    ``spec`` says how the parts are joined. Between the stages every tensor is float32, whatever
    precision the networks run in; so are the input normalisation, the resizes and the final clip.
    """

    text_embedding: Tensor

    def __init__(
        self,
        spec: ModelSpec,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL | AutoencoderTiny,
        prior: DepthAnythingForDepthEstimation | None,
        text_embedding: Tensor,
        decoder: AutoencoderKL | AutoencoderTiny | None = None,
    ) -> None:
        """``decoder``: the VAE of ``spec.decoder``; each VAE then loses its unused side."""
        super().__init__()
        self.spec = spec
        self.unet = unet
        self.vae = vae
        self.decoder_vae = decoder
        if decoder is not None:
            vae.decoder = vae.post_quant_conv = None
            decoder.encoder = decoder.quant_conv = None
        self.prior = None if prior is None else Prior(prior, spec.conventions)
        self.register_buffer("text_embedding", text_embedding)
        self.requires_grad_(False).eval()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str,
        *,
        prior: str | None = None,
        conventions: str | None = None,
        unet: str | None = None,
        vae: str | None = None,
        vae_side: str = "both",
        revision: str | None = None,
    ) -> ApDepth:
        """Load a checkpoint folder or hub repository in the diffusers layout, as float32.

        Args:
            checkpoint: local folder or hub id.
            prior: transformers folder, hub id, original ``depth_anything_v2_vit*.pth``, or "none";
                the default is the checkpoint's own ``prior/`` folder.
            conventions: a name in ``spec.CONVENTIONS``; the default is what ``apdepth.json`` says,
                or "v1.1" where there is none.
            unet: a bare ``unet/`` folder (the authors' training output) to put over the base.
            vae: folder or hub id of a VAE to put over it, which brings its latent scale: an
                ``AutoencoderKL``, or an ``AutoencoderTiny`` of the same latents (TAESD).
            vae_side: what that VAE does: "both", or only as "encoder" or "decoder".
            revision: git revision of the checkpoint's hub repository.

        Raises:
            CheckpointError: something is missing, damaged, or does not fit together.
        """
        parts = load_checkpoint(
            checkpoint,
            prior=prior,
            conventions=conventions,
            unet=unet,
            vae=vae,
            vae_side=vae_side,
            revision=revision,
        )
        return cls(*parts)

    @classmethod
    def from_spec(cls, spec: ModelSpec, seed: int = 0) -> ApDepth:
        """The model with random weights that keep signals alive (``random_weights``)."""
        from apdepth_deploy.model.random_weights import random_model

        return random_model(spec, seed)

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in."""
        return self.text_embedding.dtype

    @property
    def decoding_vae(self) -> AutoencoderKL | AutoencoderTiny:
        """The VAE that decodes: ``vae``, or the other one."""
        return self.vae if self.decoder_vae is None else self.decoder_vae

    @property
    def stage_names(self) -> tuple[str, ...]:
        """``STAGES``, without "prior" where the model has none."""
        return STAGES if self.prior is not None else STAGES[1:]

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB [B,H,W,3] -> float32 depth [B,H,W], 0 near .. 1 far.

        Raises UsageError unless H and W are multiples of ``spec.latent_stride``.
        """
        return self.stages(images)["decoder"]

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's result, float32, by the names in ``stage_names``.

        prior [B,3,H,W] (the VAE's input), encoder [B,8,h,w] (the U-Net's input; 4 without a
        prior), unet [B,4,h,w], decoder [B,H,W]; h = H/8, w = W/8.
        """
        self._check(images)
        results: dict[str, Tensor] = {}
        for name in self.stage_names:
            results[name] = self.stage(name, images, results)
        return results

    def stage(self, name: str, images: Tensor | None, earlier: Mapping[str, Tensor]) -> Tensor:
        """One stage's result from the frame (prior, encoder) and the earlier stages' results."""
        if name == "prior":
            assert self.prior is not None, "a model without a prior has no prior stage"
            picture: Tensor = self.prior(images)
            return picture
        if name == "encoder":
            assert images is not None, "the encoder looks at the frame"
            return self.encode(images, earlier.get("prior"))
        return self.denoise(earlier["encoder"]) if name == "unet" else self.decode(earlier["unet"])

    def encode(self, images: Tensor, prior: Tensor | None) -> Tensor:
        """uint8 [B,H,W,3] and the prior [B,3,H,W] -> the U-Net's input, in ``concat`` order."""
        # Cast first: TensorRT takes a uint8 input into a cast and nothing else.
        pictures = {"rgb": images.float().permute(0, 3, 1, 2) / 127.5 - 1.0}
        if prior is not None:
            pictures["prior"] = prior
        latents = [self.encode_picture(pictures[key]) for key in self.spec.conventions.concat]
        return torch.cat(latents, dim=1)

    def encode_picture(self, picture: Tensor) -> Tensor:
        """[B,3,H,W] in [-1, 1] -> scaled latent [B,4,h,w]: the posterior's mean, never a sample."""
        x = picture.to(self.dtype)
        if isinstance(self.vae, AutoencoderTiny):
            latent = self.vae.encoder(x)
        else:
            latent = self.vae.quant_conv(self.vae.encoder(x)).chunk(2, dim=1)[0]
        scaled: Tensor = latent.float() * self.spec.conventions.latent_scale
        return scaled

    def denoise(self, latents: Tensor) -> Tensor:
        """U-Net input [B,8,h,w] -> depth latent [B,4,h,w]: the prediction is the sample (eq. 6)."""
        text = self.text_embedding.to(self.dtype).expand(latents.shape[0], -1, -1)
        timestep = self.spec.conventions.timestep
        sample: Tensor = self.unet(
            latents.to(self.dtype), timestep, encoder_hidden_states=text, return_dict=False
        )[0]
        return sample.float()

    def decode(self, latent: Tensor) -> Tensor:
        """Depth latent [B,4,h,w] -> depth [B,H,W] in [0, 1]: mean of 3 channels, clipped."""
        z = (latent / self.spec.decoding_scale).to(self.dtype)
        vae = self.decoding_vae
        if isinstance(vae, AutoencoderTiny):
            picture = vae.decoder(z)
        else:
            picture = vae.decoder(vae.post_quant_conv(z))
        mean: Tensor = picture.float().mean(dim=1)
        return mean.clamp(-1.0, 1.0) / 2.0 + 0.5

    def _check(self, images: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
            shape = list(images.shape)
            raise UsageError(f"images must be uint8 [B,H,W,3], not {images.dtype} {shape}")
        if 0 in images.shape:
            raise UsageError(f"images {list(images.shape)} hold no pixels")
        stride = self.spec.latent_stride
        if not torch.compiler.is_compiling() and (
            images.shape[1] % stride or images.shape[2] % stride
        ):
            height, width = images.shape[1:3]
            raise UsageError(
                f"height and width must be multiples of {stride}, not {height}x{width}"
            )
