"""Frame sizes a graph takes: fixed by default, or a range for each of batch, height and width."""

from __future__ import annotations

import dataclasses
import re

from apdepth_deploy.bundle.manifest import MAX_VALUES, frame_values
from apdepth_deploy.errors import ExportError, UsageError

#: Smallest frame side: below it the U-Net's lowest level has nothing left to attend to.
MIN_SIDE = 64

AXES = ("batch", "height", "width")


@dataclasses.dataclass(frozen=True)
class Extent:
    """One axis: fixed where min == max; ``opt`` is the size it is tuned and traced for."""

    min: int
    opt: int
    max: int

    @property
    def is_fixed(self) -> bool:
        return self.min == self.max

    def to_json(self) -> int | list[int]:
        return self.opt if self.is_fixed else [self.min, self.opt, self.max]


@dataclasses.dataclass(frozen=True)
class FrameShape:
    """uint8 frames [batch, height, width, 3]."""

    batch: Extent
    height: Extent
    width: Extent

    @classmethod
    def fixed(cls, batch: int, height: int, width: int) -> FrameShape:
        return cls(*(Extent(n, n, n) for n in (batch, height, width)))

    @classmethod
    def ranged(
        cls,
        smallest: tuple[int, int, int],
        opt: tuple[int, int, int],
        largest: tuple[int, int, int],
    ) -> FrameShape:
        """Raises UsageError unless min <= opt <= max on every axis."""
        extents = [Extent(*sizes) for sizes in zip(smallest, opt, largest, strict=True)]
        for axis, extent in zip(AXES, extents, strict=True):
            if not extent.min <= extent.opt <= extent.max:
                raise UsageError(
                    f"{axis}: {extent.min}..{extent.opt}..{extent.max} is not min <= opt <= max"
                )
        return cls(*extents)

    @property
    def is_fixed(self) -> bool:
        return all(getattr(self, axis).is_fixed for axis in AXES)

    @property
    def opt(self) -> tuple[int, int, int]:
        return self.batch.opt, self.height.opt, self.width.opt

    @property
    def ends(self) -> tuple[tuple[int, int, int], ...]:
        """The smallest and the largest frame; nothing where there is one size."""
        if self.is_fixed:
            return ()
        axes = (self.batch, self.height, self.width)
        return tuple(e.min for e in axes), tuple(e.max for e in axes)  # type: ignore[return-value]

    def check(self, stride: int, coarsest: int) -> None:
        """Raises UsageError unless sides are multiples of ``stride``, nothing too small or large.

        ``coarsest``: pixels per place of the U-Net's lowest level. torch.export takes a size of 1
        for a constant, so a side that ranges has 2 places there or more: ExportError else.
        """
        largest = (self.batch.max, self.height.max, self.width.max)
        if frame_values(*largest) > MAX_VALUES:
            raise UsageError(
                f"{'x'.join(map(str, largest))} frames have more than {MAX_VALUES} values, which "
                "is what engines count to: use smaller or fewer frames"
            )
        for axis in AXES:
            extent = getattr(self, axis)
            for size in (extent.min, extent.opt, extent.max):
                if axis == "batch" and size < 1:
                    raise UsageError(f"batch must be at least 1, not {size}")
                if axis != "batch" and (size % stride or size < MIN_SIDE):
                    near = max(MIN_SIDE, (size + stride // 2) // stride * stride)
                    raise UsageError(
                        f"{axis} must be a multiple of {stride} and at least {MIN_SIDE}, "
                        f"not {size}: use {near}"
                    )
            if axis != "batch" and not extent.is_fixed and extent.min <= coarsest:
                raise ExportError(
                    f"{axis}: a range has to start at {coarsest + stride} or above, not at "
                    f"{extent.min}; one size, min = max, may be {extent.min}"
                )


def parse_shape(text: str) -> tuple[int, int, int]:
    """ "BATCHxHEIGHTxWIDTH" -> three numbers; UsageError for anything else."""
    if not re.fullmatch(r"[0-9]{1,9}x[0-9]{1,9}x[0-9]{1,9}", text):
        raise UsageError(f"{text!r} is not BATCHxHEIGHTxWIDTH, such as 1x480x640")
    batch, height, width = (int(n) for n in text.split("x"))
    return batch, height, width
