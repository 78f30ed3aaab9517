"""The micro model as a checkpoint folder, as the libraries themselves write it, and as a bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from apdepth_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from apdepth_deploy.model import ApDepth


@pytest.fixture(scope="session")
def micro_model(micro_spec: ModelSpec) -> ApDepth:
    """Read only, like all that is not a test's own copy."""
    from apdepth_deploy.model import ApDepth

    return ApDepth.from_spec(micro_spec)


@pytest.fixture(scope="session")
def frame() -> Tensor:
    """A frame of noise, uint8 [1,64,88,3]: odd latents, and a prior size that is rounded up."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 64, 88, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="session")
def micro_depth(micro_model: ApDepth, frame: Tensor) -> Tensor:
    return micro_model(frame)


@pytest.fixture(scope="session")
def micro_saved(micro_model: ApDepth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with unet/, vae/, prior/ and the text embedding, and no file of our own kind."""
    folder = tmp_path_factory.mktemp("saved") / "micro"
    micro_model.unet.save_pretrained(folder / "unet")
    micro_model.vae.save_pretrained(folder / "vae")
    assert micro_model.prior is not None
    micro_model.prior.net.save_pretrained(folder / "prior")
    np.save(folder / "empty_text_embed.npy", micro_model.text_embedding.numpy())
    return folder


@pytest.fixture
def folder(micro_saved: Path, tmp_path: Path) -> Path:
    """A copy of ``micro_saved`` to take apart."""
    return shutil.copytree(micro_saved, tmp_path / "micro")


@pytest.fixture
def bundle(tmp_path: Path, micro_bundle: Path) -> Path:
    """The micro bundle's manifest beside files of the right size that hold nothing."""
    folder = tmp_path / "bundle"
    (folder / "onnx").mkdir(parents=True)
    shutil.copy(micro_bundle / "manifest.json", folder)
    for name, entry in json.loads((folder / "manifest.json").read_text())["files"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("wb") as file:
            file.truncate(entry["size"])
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
