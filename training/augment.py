"""What a real camera does to a picture, drawn at random: for pictures that are rendered."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from apdepth_deploy.pictures.image import ImageArray

from .data.sample import Sample
from .data.transforms import random_crop


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """A crop of 70% to 100% of each side, and another camera's picture of it."""
    height, width = sample.depth.shape
    scale = rng.uniform(0.7, 1.0)
    sample = random_crop(sample, round(height * scale), round(width * scale), rng)
    return dataclasses.replace(sample, image=camera(sample.image, rng))


def camera(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    """uint8 [H,W,3] with another exposure, contrast, white balance, saturation, vignette, sharpness
    and noise.
    """
    if rng.random() < 0.3:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))
        image = np.array(Image.fromarray(image).filter(blur))
    x = image.astype(np.float32) / 255.0
    x = x ** np.float32(np.exp(rng.normal(0.0, 0.25)))
    x *= np.exp(rng.normal(0.0, 0.1, 3)).astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.2)))
    grey = x.mean(axis=2, keepdims=True)
    x = grey + (x - grey) * np.float32(rng.uniform(0.0, 1.4))
    middle = x.mean()
    x = middle + (x - middle) * np.float32(rng.uniform(0.7, 1.3))
    if rng.random() < 0.3:
        x *= _vignette(x.shape[0], x.shape[1], rng.uniform(0.1, 0.5))
    if rng.random() < 0.5:
        x += rng.normal(0.0, rng.uniform(0.005, 0.04), x.shape).astype(np.float32)
    varied: ImageArray = np.clip(x * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return varied


def _vignette(height: int, width: int, strength: float) -> NDArray[np.float32]:
    """[H,W,1]: 1 in the middle, 1 - strength in the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    falloff = 1 - strength * (x**2 + y**2) / 2
    return falloff.astype(np.float32)[..., None]
