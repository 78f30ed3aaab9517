"""The data-driven prior: Depth Anything V2 between the camera frame and the VAE (paper, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.depth_anything.modeling_depth_anything import (
    DepthAnythingDepthEstimationHead,
)
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from apdepth_deploy.spec import Conventions

if TYPE_CHECKING:
    from transformers import DepthAnythingForDepthEstimation


class Prior(nn.Module):
    """uint8 RGB [B,H,W,3] -> the prior's picture [B,3,H,W] float32, as the VAE takes it.

    Attributes:
        resize_dtype: what frame and disparity are resized in. PyTorch places the samples by adding
            up a step of this type: in float32 it is 4e-5 of a pixel off at the end of 640, which on
            noise is 7e-5 of the depth. Graphs keep to float32, and their runtimes divide instead.
    """

    resize_dtype = torch.float64
    mean: Tensor
    std: Tensor

    def __init__(self, net: DepthAnythingForDepthEstimation, conventions: Conventions) -> None:
        super().__init__()
        self.net = net
        self.conventions = conventions
        embeddings = net.backbone.embeddings
        net.backbone.embeddings = OffsetEmbeddings.like(embeddings, conventions.position_offset)
        net.head.__class__ = SymbolicHead
        self._keep_means(None)

    def _keep_means(self, device: torch.device | None) -> None:
        """What frames are normalised by, [3,1,1]: float32, whatever the networks' precision.

        A tensor made in ``forward`` would be a copy from the host for each frame, which no CUDA
        graph captures.
        """
        for name in ("mean", "std"):
            values = getattr(self.conventions, f"prior_{name}")
            made = torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
            self.register_buffer(name, made, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Prior:
        """Also what ``to`` and ``half`` do: they move the means, and don't round them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._keep_means(self.mean.device)
        return self

    def forward(self, images: Tensor) -> Tensor:
        disparity = self.disparity(images)
        if self.conventions.prior_output == "minmax":
            disparity = stretch(disparity)
        return disparity.expand(-1, 3, -1, -1)

    def disparity(self, images: Tensor) -> Tensor:
        """uint8 RGB [B,H,W,3] -> the network's disparity [B,1,H,W] float32, 0 = far."""
        height, width = images.shape[1:3]
        rgb = images.float().permute(0, 3, 1, 2) / 255.0
        normalised = (rgb - self.mean) / self.std
        size = self.input_size(height, width)
        resized = self._resize(normalised, size)
        disparity = self.net(resized.to(self.net.dtype)).predicted_depth[:, None]
        return self._resize(disparity.float(), (height, width))

    def _resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x.to(self.resize_dtype)
        return F.interpolate(x, size, mode="bilinear", align_corners=True).float()

    @torch.no_grad()
    def freeze_positions(self, height: int, width: int) -> None:
        """Work out the position table for frames of one size, in place: a constant, resampled once.

        The model takes no other size afterwards.
        """
        embeddings = self.net.backbone.embeddings
        rows, cols = self.input_size(height, width)
        table = embeddings.interpolate_pos_encoding(torch.empty(0), rows, cols)
        embeddings.position_embeddings = nn.Parameter(table, requires_grad=False)
        embeddings.frozen = True

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The network's input size for a frame: multiples of the patch, by ``prior_side``."""
        patch = int(self.net.config.patch_size)
        side = self.conventions.prior_side
        if side is None:
            return (height + patch - 1) // patch * patch, (width + patch - 1) // patch * patch
        shorter = min(height, width)
        # Depth Anything's "lower_bound" rule: the nearest multiple, or the next if that is below.
        fewest = -(-side // patch)
        counts = [max(round(n * side / shorter / patch), fewest) for n in (height, width)]
        return counts[0] * patch, counts[1] * patch


def stretch(disparity: Tensor) -> Tensor:
    """Each image's values to [-1, 1]: [B,1,H,W] -> [B,1,H,W]; a flat image gives -1."""
    low = disparity.amin(dim=(1, 2, 3), keepdim=True)
    high = disparity.amax(dim=(1, 2, 3), keepdim=True)
    return (disparity - low) / (high - low).clamp_min(1e-6) * 2.0 - 1.0


class SymbolicHead(DepthAnythingDepthEstimationHead):
    """transformers' head without its ``int(size)``, which would fix a ranged graph to one size."""

    def forward(self, hidden_states: list[Tensor], patch_height: int, patch_width: int) -> Tensor:
        """Fused features -> disparity [B,H,W]."""
        x = self.conv1(hidden_states[self.head_in_index])
        size = (patch_height * self.patch_size, patch_width * self.patch_size)
        x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        x = self.activation1(self.conv2(x))
        disparity: Tensor = self.activation2(self.conv3(x)).squeeze(1) * self.max_depth
        return disparity


class OffsetEmbeddings(Dinov2Embeddings):
    """DINOv2's embeddings with the position table resampled as the original code does.

    The original passes ``scale_factor=(n + 0.1) / N`` to a bicubic ``interpolate``, and that scale
    places the samples; transformers passes the size, which is the same with an offset of 0. Written
    as a weighted gather so that one form serves static and dynamic export.
    """

    position_offset: float = 0.0
    frozen: bool = False

    @classmethod
    def like(cls, embeddings: Dinov2Embeddings, position_offset: float) -> OffsetEmbeddings:
        """The same embeddings (parameters shared) with another ``position_offset``."""
        with torch.device("meta"):
            copy = cls(embeddings.config)
        copy.load_state_dict(embeddings.state_dict(), assign=True)
        copy.position_offset = position_offset
        return copy

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings [1, 1 + rows * cols, C] for an input of height x width pixels."""
        table: Tensor = self.position_embeddings
        if self.frozen:
            return table
        side = round((table.shape[1] - 1) ** 0.5)
        rows, cols = height // self.patch_size, width // self.patch_size
        offset = self._offset(rows, cols, side)
        grid = table[:, 1:].float().reshape(side, side, -1)
        grid = bicubic(grid, rows, offset)
        grid = bicubic(grid.transpose(0, 1), cols, offset).transpose(0, 1)
        patches = grid.reshape(1, rows * cols, -1).to(table.dtype)
        return torch.cat((table[:, :1], patches), dim=1)

    def _offset(self, rows: Any, cols: Any, side: int) -> float | Tensor:
        """``position_offset``, but 0 at the table's own size, which the original takes as it is."""
        if isinstance(rows, int) and isinstance(cols, int):
            return 0.0 if rows == cols == side else self.position_offset
        sizes = torch.stack([torch.scalar_tensor(n) for n in (rows, cols)])
        return (sizes != side).any().float() * self.position_offset


def bicubic(x: Tensor, size: int, offset: float | Tensor) -> Tensor:
    """Resample axis 0 of x [N, M, C] to ``size`` with Keys' kernel (a = -0.75), edges repeated.

    Equals ``F.interpolate(mode="bicubic", scale_factor=(size + offset) / N)`` along that axis.
    """
    n = x.shape[0]
    a = -0.75
    position = (torch.arange(size, device=x.device).float() + 0.5) * (n / (size + offset)) - 0.5
    base = position.floor()
    t = position - base
    weights = (
        a * (t + 1) ** 3 - 5 * a * (t + 1) ** 2 + 8 * a * (t + 1) - 4 * a,
        (a + 2) * t**3 - (a + 3) * t**2 + 1,
        (a + 2) * (1 - t) ** 3 - (a + 3) * (1 - t) ** 2 + 1,
        a * (2 - t) ** 3 - 5 * a * (2 - t) ** 2 + 8 * a * (2 - t) - 4 * a,
    )
    rows = [(base.long() + k).clamp(0, n - 1) for k in (-1, 0, 1, 2)]
    return sum(  # type: ignore[return-value]
        w.view(-1, 1, 1) * x[row] for w, row in zip(weights, rows, strict=True)
    )
