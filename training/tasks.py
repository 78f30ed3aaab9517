"""What a run trains, and towards what: the U-Net (the paper), a prior, a VAE, or a light VAE.

A task holds the model and the one network in it that learns; the loop knows neither.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from apdepth_deploy.errors import UsageError
from apdepth_deploy.model import ApDepth
from apdepth_deploy.model.prior import stretch

from .config import LossConfig, TrainConfig
from .losses import (
    gradient_matching_loss,
    latent_frequency_loss,
    latent_mask,
    latent_mse,
    pixel_l1,
    relative_disparity,
)
from .model import light_vae, with_vae
from .schedule import loss_weights

#: images uint8 [B,H,W,3]; depth float32 [B,H,W], metres; target float32 [B,H,W] in [-1, 1];
#: valid, mask bool [B,H,W]: where depth is known, and where the target teaches;
#: number int64 [B]: the frames' places in the stream (absent where nothing is drawn). With kept
#: latents: inputs [B,8,h,w], latent [B,4,h,w], latent_mask bool [B,1,h,w], and target and mask.
Batch = dict[str, Tensor]
Losses = dict[str, Tensor]


class Task(ABC):
    """One network of a model, and its loss."""

    def __init__(self, model: ApDepth, network: nn.Module) -> None:
        self.model = model
        self.network = network.requires_grad_(True).train()

    @abstractmethod
    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        """Named parts whose sum is the loss, scalars.

        ``network`` is ``self.network``, perhaps wrapped for several processes: it is called once.
        """

    @abstractmethod
    def predict(self, batch: Batch) -> Tensor:
        """What the model makes of a batch, up to scale and shift, float32 [B,H,W]."""

    def truth(self, depth: Tensor) -> Tensor:
        """What ``predict`` aims at, of depth in metres above 0."""
        return depth

    def finish(self) -> ApDepth:
        """The model as it is saved, once the network holds its weights."""
        return self.model


def make_task(config: TrainConfig, model: ApDepth) -> Task:
    """Raises UsageError where the model has no such network, or one that isn't trained here."""
    if config.task == "unet":
        return UNetTask(model, config.loss, config.run.gradient_checkpointing)
    if config.task == "prior":
        return PriorTask(model)
    if config.task == "light_vae":
        return LightVaeTask(model, light_vae(config.model, config.run.seed), config.run.seed)
    return VaeTask(model, config.run.seed)


class UNetTask(Task):
    """The paper: prior and VAE frozen, latent MSE, then the latent frequency loss (3.3)."""

    def __init__(self, model: ApDepth, loss: LossConfig, checkpointing: bool = False) -> None:
        super().__init__(model, model.unet)
        self.loss = loss
        if checkpointing:
            model.unet.enable_gradient_checkpointing()

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        if "latent" not in batch:
            batch = batch | self.latents(batch)
        latent = self._denoise(network, batch["inputs"])
        target, mask = batch["latent"], batch["latent_mask"]
        mse, frequency = loss_weights(self.loss, step)
        parts: Losses = {}
        if mse:
            parts["mse"] = mse * latent_mse(latent, target, mask)
        if frequency:
            p, high_pass = self.loss.p, self.loss.high_pass
            parts["frequency"] = frequency * latent_frequency_loss(
                latent, target, mask, p=p, high_pass=high_pass
            )
        if self.loss.pixel_l1:
            depth, wanted = self.model.decode(latent), batch["target"] / 2 + 0.5
            parts["pixel"] = self.loss.pixel_l1 * pixel_l1(depth, wanted, batch["mask"])
        return parts

    @torch.no_grad()
    def latents(self, batch: Batch) -> Batch:
        """What the frozen networks make of a batch: the U-Net's input, its target and the mask."""
        model = self.model
        prior = None if model.prior is None else model.prior(batch["images"])
        picture = batch["target"][:, None].expand(-1, 3, -1, -1)
        return {
            "inputs": model.encode(batch["images"], prior),
            "latent": model.encode_picture(picture),
            "latent_mask": latent_mask(batch["mask"], model.spec.latent_stride),
        }

    def _denoise(self, network: nn.Module, inputs: Tensor) -> Tensor:
        text = self.model.text_embedding.expand(inputs.shape[0], -1, -1)
        timestep = self.model.spec.conventions.timestep
        sample: Tensor = network(inputs, timestep, encoder_hidden_states=text, return_dict=False)[0]
        return sample.float()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        depth: Tensor = self.model(batch["images"])
        return depth


class Disparity(nn.Module):
    """Frame -> the prior's disparity, as one call: what several processes can wrap."""

    def __init__(self, model: ApDepth) -> None:
        super().__init__()
        assert model.prior is not None
        self.prior = model.prior

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B,H,W,3] -> float32 [B,H,W], 0 = far."""
        disparity: Tensor = self.prior.disparity(images)[:, 0]
        return disparity


class PriorTask(Task):
    """A prior of our own: relative disparity, by L1 and by the gradients of MiDaS.

    Not by MiDaS's scale- and shift-invariant error: it leaves the output's size free, and in a
    network that starts from nothing the part that knows only the position in the frame then grows
    until a thousandfold drowns what the picture says.
    """

    #: Weight of the gradient term, as in MiDaS (arXiv:1907.01341, eq. 11).
    GRADIENT = 0.5

    def __init__(self, model: ApDepth) -> None:
        if model.prior is None:
            raise UsageError("task 'prior' needs a model with a prior")
        super().__init__(model, Disparity(model))

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        disparity = network(batch["images"]).float()
        target = relative_disparity(batch["depth"], batch["valid"], batch["mask"])
        return {
            "l1": pixel_l1(disparity, target, batch["mask"]),
            "gradient": self.GRADIENT * gradient_matching_loss(disparity, target, batch["mask"]),
        }

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        disparity: Tensor = self.network(batch["images"])
        return disparity

    def truth(self, depth: Tensor) -> Tensor:
        return 1.0 / depth


class Autoencoder(nn.Module):
    """Picture -> latent with noise -> picture, as one call; keeps the size of the latents."""

    latent_std: Tensor

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("latent_std", torch.ones(()))

    def forward(self, picture: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """[B,3,H,W] in [-1, 1] -> (the same after the bottleneck, KL divergence per element)."""
        posterior = self.vae.encode(picture).latent_dist
        latent = _sampled(posterior, generator)
        with torch.no_grad():
            self.latent_std.lerp_(posterior.mean.float().std(), 0.01)
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1.0 - posterior.logvar).mean()
        return self.vae.decode(latent, return_dict=False)[0], kl


class VaeTask(Task):
    """A VAE of our own, for camera frames, depth and disparity alike.

    L1, L1 of differences between neighbours, and a light KL term: the noise that it allows makes
    the decoder forgive what the U-Net gets slightly wrong.
    """

    KL = 1e-3
    EDGES = 1.0

    def __init__(self, model: ApDepth, seed: int) -> None:
        if not isinstance(model.vae, AutoencoderKL):
            raise UsageError("task 'vae' trains an AutoencoderKL")
        self.autoencoder = Autoencoder(model.vae)
        super().__init__(model, self.autoencoder)
        self.seed = seed

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        picture = _pictures(batch)
        made, kl = network(picture, _noise(self.seed, batch))
        return {
            "l1": F.l1_loss(made, picture),
            "edges": self.EDGES * _edge_loss(made, picture),
            "kl": self.KL * kl,
        }

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        depth = batch["target"][:, None].expand(-1, 3, -1, -1)
        latent = self.model.encode_picture(depth)
        return self.model.decode(latent)

    def finish(self) -> ApDepth:
        """With the scale that brings its latents to unit size (latent diffusion, 3.3 and G)."""
        scale = float(1.0 / self.autoencoder.latent_std)
        spec = self.model.spec
        conventions = dataclasses.replace(spec.conventions, latent_scale=scale)
        self.model.vae.register_to_config(scaling_factor=scale)
        vae = {**spec.vae, "scaling_factor": scale}
        self.model.spec = dataclasses.replace(spec, vae=vae, conventions=conventions)
        return self.model


class LightAutoencoder(nn.Module):
    """Picture -> latent, and another latent -> picture, as one call."""

    def __init__(self, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, picture: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,H,W] in [-1, 1] and [B,4,h,w] -> [B,4,h,w] and [B,3,H,W]."""
        return self.vae.encoder(picture), self.vae.decoder(latent)


class LightVaeTask(Task):
    """An ``AutoencoderTiny`` that takes the place of the model's VAE, for all that goes through it.

    Its encoder learns the latents that the model's gives, in the U-Net's scale; its decoder learns
    the pictures behind them (the paper's "customized decoder", 3.1).
    """

    EDGES = 1.0

    def __init__(self, model: ApDepth, light: AutoencoderTiny, seed: int) -> None:
        if not isinstance(model.vae, AutoencoderKL):
            raise UsageError("task 'light_vae' learns from an AutoencoderKL: the model has none")
        super().__init__(model, LightAutoencoder(light))
        self.light = light
        self.seed = seed

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        picture = _pictures(batch)
        with torch.no_grad():
            posterior = self.model.vae.encode(picture).latent_dist
        scale = self.model.spec.conventions.latent_scale
        sample = _sampled(posterior, _noise(self.seed, batch))
        latent, made = network(picture, scale * sample)
        return {
            "latent": latent_mse(latent, scale * posterior.mean),
            "l1": F.l1_loss(made, picture),
            "edges": self.EDGES * _edge_loss(made, picture),
        }

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        depth = batch["target"][:, None].expand(-1, 3, -1, -1)
        picture: Tensor = self.light.decoder(self.light.encoder(depth))
        return picture.float().mean(dim=1)

    def finish(self) -> ApDepth:
        return with_vae(self.model, copy.deepcopy(self.light))  # a model freezes what it takes


def _pictures(batch: Batch) -> Tensor:
    """Frames, depth and disparity by turns, one to two to one: [B,3,H,W] in [-1, 1]."""
    frame = batch["images"].permute(0, 3, 1, 2).float() / 127.5 - 1.0
    depth = batch["target"][:, None].expand_as(frame)
    disparity = stretch(1.0 / (batch["target"][:, None] + 1.5)).expand_as(frame)
    turn = batch["number"][:, None, None, None] % 4
    return torch.where(turn % 2 == 1, depth, torch.where(turn == 0, frame, disparity))


def _sampled(posterior: DiagonalGaussianDistribution, generator: torch.Generator) -> Tensor:
    """A latent [B,4,h,w] of the posterior, its noise drawn in float32 on the CPU on any device."""
    noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
    latent: Tensor = posterior.mean + posterior.std * noise
    return latent


def _noise(seed: int, batch: Batch) -> torch.Generator:
    """What draws a batch's noise: the same for the same place in the stream."""
    return torch.Generator().manual_seed(seed + int(batch["number"][0]))


def _edge_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, [B,C,H,W]."""
    error = made - wanted
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
