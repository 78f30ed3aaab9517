"""Relative depth, frame after frame, made steadier: a recursive filter gated by the picture.

With the frame I (uint8 RGB), its depth R, and the state of the last step: its frame J, output L and
the part of a pixel e by which L lies off its frame:

    v        how the picture moved as a whole since J (motion.py)
    m, n     v rounded, and e + v rounded (half up): whole pixels, for colours and for depth
    e        becomes 0.9 (e + v - n)
    q(p)     -(1/3) sum over R, G, B of (I_2 - J_2)^2 / 12^2: I_2, J_2 are means over 2x2 pixels of
             I(p) and J(p - m), of 255
    a, b     R(p) = a L(p - n) + b by least squares over every fourth pixel with the weights exp(q),
             then three times exp(q) / (1 + (r / 0.1)^2)^2, r the residual of the time before: L is
             the steadier, so errors are taken to lie in R
    s, t     1/a and -b/a, drawn by 30 % towards 1 and 0: so L follows the model's own scale within
             some thirty frames, and nothing can add up
    N        s R + t
    w        min(0.9, 1.1 exp(q - (L(p - n) - N)^2 / 0.15^2))
    output   N + w (L(p - n) - N); N where the last picture saw nothing

The 1.1 lets noise pass for likeness: a still scene is averaged with the full 0.9. At a cut (hardly
a pixel alike; or few, and the pictures don't correlate), or with a frame of another size, the
output is R, as at the start. Sums over pixels are float64, all else is float32. No look ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.errors import ImageError, UsageError
from apdepth_deploy.pictures.image import DepthArray, ImageArray, check_image

from .motion import Grey, Pyramid, motion, overlap, pyramid

#: Weight of the last depth where nothing changed, and how much noise passes for that.
_KEPT, _TRUST = 0.9, 1.1
#: Differences at which likeness falls to 1/e: of colours, of 255; and of depths.
_COLOUR, _DEPTH = 12.0, 0.15
#: The affine fit: residual at a quarter of the weight, rounds, fewest pixels, and the way home.
_RESIDUAL, _ROUNDS, _FEWEST, _HOME = 0.1, 4, 50, 0.3
#: A cut: a smaller share alike than the first; or than the second, and correlated less.
_ALIKE, _FEW_ALIKE, _CORRELATED = 0.05, 0.6, 0.6

Sums = NDArray[np.float32]
Window = tuple[int, int, int, int]


class Stabilizer:
    """Steadier relative depth of one stream, frame after frame; one for each stream.

    The result follows the model's own scale slowly, and may leave 0 .. 1 a little: what was fitted
    to one result (metres) about holds for the next, but no longer once ``age`` is 1.
    """

    def __init__(self) -> None:
        self._frame: ImageArray | None = None
        self._depth: DepthArray | None = None
        self._scale, self._shift = 1.0, 0.0
        self._offset = (0.0, 0.0)
        self._age = 0
        self._pyramid: Pyramid | None = None
        self._scratch: list[DepthArray] = []

    @property
    def age(self) -> int:
        """Frames since the start or the last cut: 1 = the last result is that frame's own depth."""
        return self._age

    def __call__(self, frame: ImageArray, depth: DepthArray) -> DepthArray:
        """The next frame's depth, steadied.

        Args:
            frame: uint8 [H,W,3] RGB, at least 16x16. Another size than before: a new start.
            depth: float32 [H,W], its relative depth, 0 near .. 1 far.

        Returns:
            float32 [H,W], a new array.

        Raises:
            ImageError: not such arrays, or depth with NaN or Inf; the state is as before.
        """
        _check(frame, depth)
        sums = _sums(frame, (0, 0, *frame.shape[:2]))
        levels = pyramid(_grey(sums))
        known = self._frame is not None and self._frame.shape == frame.shape
        result = self._step(frame, depth, sums, levels) if known else None
        if result is None:  # a start, or a cut
            result = depth.copy()
            self._scale, self._shift, self._offset, self._age = 1.0, 0.0, (0.0, 0.0), 0
        self._frame, self._depth, self._pyramid = frame.copy(), result, levels
        self._age += 1
        return result.copy()

    def state(self) -> dict[str, NDArray[Any]]:
        """What the next result follows from, as arrays for ``np.savez``; empty at the start."""
        if self._frame is None or self._depth is None:
            return {}
        numbers = [self._scale, self._shift, *self._offset, self._age]
        return {"frame": self._frame, "depth": self._depth, "numbers": np.array(numbers)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> Stabilizer:
        """Goes on where ``state`` was taken. Raises UsageError for anything else."""
        steady = cls()
        if not state:
            return steady
        try:
            frame, depth, numbers = (np.array(state[k]) for k in ("frame", "depth", "numbers"))
            _check(frame, depth)
            scale, shift, down, right, age = numbers.astype(np.float64).tolist()
        except (KeyError, ValueError, TypeError, ImageError) as error:
            raise UsageError(f"not a stabiliser's state ({error}): start without one") from error
        steady._frame, steady._depth = frame, depth
        steady._scale, steady._shift, steady._offset = scale, shift, (down, right)
        steady._age = int(age)
        steady._pyramid = pyramid(_grey(_sums(frame, (0, 0, *frame.shape[:2]))))
        return steady

    def _step(
        self, frame: ImageArray, depth: DepthArray, sums: Sums, levels: Pyramid
    ) -> DepthArray | None:
        """The result; None at a cut. Only then the state is as before."""
        assert self._frame is not None and self._depth is not None and self._pyramid is not None
        size = frame.shape[0], frame.shape[1]
        moved = motion(levels, self._pyramid)
        by_colour = _rounded(moved)
        moved = (self._offset[0] + moved[0], self._offset[1] + moved[1])
        by_depth = _rounded(moved)
        here = _window(size, by_colour, by_depth)
        if here is None:
            return None
        likeness = _likeness(_part(sums, here), _sums(self._frame, _moved(here, by_colour)))
        alike = np.exp(likeness[::2, ::2])
        last = _cut_out(self._depth, _moved(here, by_depth))
        if _is_cut(alike, levels, self._pyramid, by_colour):
            return None
        fit = _fit(_cut_out(depth, here), last, alike, (self._scale, self._shift))
        self._scale, self._shift = fit
        self._offset = _KEPT * (moved[0] - by_depth[0]), _KEPT * (moved[1] - by_depth[1])
        result = depth * np.float32(fit[0])
        result += np.float32(fit[1])
        self._blend(_cut_out(result, here), last, likeness)
        return result

    def _blend(self, new: DepthArray, last: DepthArray, likeness: DepthArray) -> None:
        """``new`` [H,W] becomes the output; ``likeness`` is [H/2,W/2], logarithms."""
        change, weight, rows = self._buffers(new.shape)
        np.subtract(last, new, out=change)
        with np.errstate(over="ignore"):  # too far apart for float32 is far enough
            np.multiply(change, change, out=weight)
            weight *= np.float32(-1 / _DEPTH**2)
        _add_doubled(weight, likeness + np.float32(math.log(_TRUST)), rows)
        np.minimum(weight, np.float32(math.log(_KEPT)), out=weight)
        np.exp(weight, out=weight)
        weight *= change
        new += weight

    def _buffers(self, shape: tuple[int, int]) -> tuple[DepthArray, DepthArray, DepthArray]:
        """Two of ``shape`` and one of half its rows, which no one else holds."""
        height, width = shape
        if not self._scratch or self._scratch[0].size < height * width:
            self._scratch = [np.empty(height * width, np.float32) for _ in range(3)]
        first, second, third = self._scratch
        whole, half = height * width, height // 2 * width
        return (
            first[:whole].reshape(shape),
            second[:whole].reshape(shape),
            third[:half].reshape(height // 2, width),
        )


def _check(frame: object, depth: object) -> None:
    """Raises ImageError for what ``Stabilizer`` doesn't take."""
    image = check_image(frame)
    if not isinstance(depth, np.ndarray) or depth.dtype != np.float32:
        found = depth.dtype if isinstance(depth, np.ndarray) else type(depth).__name__
        raise ImageError(f"depth is a float32 array [H,W], not {found}")
    if depth.shape != image.shape[:2]:
        raise ImageError(f"depth {list(depth.shape)} is not of its frame {list(image.shape)}")
    with np.errstate(all="ignore"):
        total = float(depth.sum())
    if not math.isfinite(total):
        raise ImageError("depth has NaN or Inf: leave such a frame out")


# --- the picture ---------------------------------------------------------------------------------


def _rounded(moved: tuple[float, float]) -> tuple[int, int]:
    return math.floor(moved[0] + 0.5), math.floor(moved[1] + 0.5)


def _window(size: tuple[int, int], *moves: tuple[int, int]) -> Window | None:
    """Top, left, bottom, right of what all moves leave in the picture; it begins at even places."""
    begins = [max(0, *(move[axis] for move in moves)) for axis in (0, 1)]
    top, left = (begin + begin % 2 for begin in begins)
    bottom, right = (size[a] + min(0, *(move[a] for move in moves)) for a in (0, 1))
    return (top, left, bottom, right) if min(bottom - top, right - left) >= 4 else None


def _moved(window: Window, move: tuple[int, int]) -> Window:
    """Where the last picture had what is in the window now."""
    top, left, bottom, right = window
    return top - move[0], left - move[1], bottom - move[0], right - move[1]


def _cut_out(values: DepthArray, window: Window) -> DepthArray:
    top, left, bottom, right = window
    return values[top:bottom, left:right]


def _part(sums: Sums, window: Window) -> Sums:
    top, left, bottom, right = window
    height, width = (bottom - top) // 2, (right - left) // 2
    return sums[top // 2 : top // 2 + height, left // 2 : left // 2 + width]


#: (R, G, B, R, G, B) of two pixels to their sums.
_PAIR = np.tile(np.eye(3, dtype=np.float32), (2, 1))
_ALL = np.ones(3, np.float32)


def _sums(frame: ImageArray, window: Window) -> Sums:
    """float32 [H/2,W/2,3], exact: R, G, B summed over 2x2 pixels of the window."""
    top, left, bottom, right = window
    height, width = (bottom - top) // 2, (right - left) // 2
    rows = frame[top : top + 2 * height, left : left + 2 * width].reshape(height, 2, -1)
    pairs = np.add(rows[:, 0], rows[:, 1], dtype=np.float32).reshape(-1, 6)
    return (pairs @ _PAIR).reshape(height, width, 3)


def _grey(sums: Sums) -> Grey:
    return (sums @ _ALL).astype(np.int32)


def _likeness(new: Sums, last: Sums) -> DepthArray:
    """float32 [H/2,W/2]: -c^2 / 12^2."""
    change = new - last
    change *= change
    # Sums of four pixels and over three channels.
    return change @ (_ALL * np.float32(-1 / (16 * 3 * _COLOUR**2)))


def _is_cut(alike: DepthArray, new: Pyramid, last: Pyramid, move: tuple[int, int]) -> bool:
    share = float(alike.mean(dtype=np.float64))
    if share > _FEW_ALIKE:
        return False
    if share < _ALIKE:
        return True
    down, right = (round(step / 4) for step in move)
    here, there = (level.astype(np.float64) for level in overlap(new[0], last[0], down, right))
    here -= here.mean()
    there -= there.mean()
    product = float((here * there).sum())
    return product < _CORRELATED * math.sqrt(float((here**2).sum()) * float((there**2).sum()))


# --- depth ---------------------------------------------------------------------------------------


def _fit(
    new: DepthArray, last: DepthArray, alike: DepthArray, before: tuple[float, float]
) -> tuple[float, float]:
    """Scale and shift that bring ``new`` to ``last``; the frame ``before``'s where none can."""
    rows, columns = alike.shape
    x, y = (values[::4, ::4][:rows, :columns].astype(np.float64) for values in (last, new))
    weight: NDArray[np.float64] = alike.astype(np.float64)
    a, b = 1.0, 0.0
    for number in range(_ROUNDS):
        if number:
            weight = alike / (1 + ((y - a * x - b) / _RESIDUAL) ** 2) ** 2
        total = float(weight.sum())
        if total < min(_FEWEST, 0.1 * x.size):
            return before
        mean_x, mean_y = float((weight * x).sum()) / total, float((weight * y).sum()) / total
        spread = float((weight * (x - mean_x) ** 2).sum())
        slope = float((weight * (x - mean_x) * (y - mean_y)).sum())
        if spread < 1e-6 * total or not 0.25 * spread < slope < 4 * spread:
            a, b = 1 / before[0], mean_y - mean_x / before[0]  # flat: only a shift can be told
            break
        a = slope / spread
        b = mean_y - a * mean_x
    scale, shift = 1 / a, -b / a
    return scale + _HOME * (1 - scale), shift - _HOME * shift


def _add_doubled(values: DepthArray, halves: DepthArray, rows: DepthArray) -> None:
    """``values`` [H,W] += ``halves`` [H/2,W/2], each for 2x2; the last also where a side is odd."""
    height, width = values.shape
    rows[:, 0 : width // 2 * 2 : 2] = halves
    rows[:, 1:width:2] = halves
    if width % 2:
        rows[:, -1] = halves[:, -1]
    if height % 2:
        values[-1] += rows[-1]
    values = values[: height // 2 * 2]
    values[0::2] += rows
    values[1::2] += rows
