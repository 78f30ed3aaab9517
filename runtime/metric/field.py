"""The model's local error, from what is left at the anchors: metres = (s d + t) exp(f).

f is a membrane over cells of the picture, held to the residuals rho = log z - log(s d + t):

    sum_i w_i (f(x_i) - rho_i)^2 + sum_pq c_pq (f_p - f_q)^2 + sum_p e_p f_p^2  ->  least

over neighbouring cells p, q. The conductance c_pq = 1 / (1 + ((d_p - d_q) / T)^2) breaks the
membrane at the edges of depth (Perona and Malik, PAMI 1990, eq. 9): a residual reaches as far as
its surface. e_p lets it sink back to 0 away from the anchors, ten times faster where none is near:
what a corner or a row of anchors has to tell stays there. The equations are solved exactly.

An anchor whose neighbours have other residuals, or that is far from what the others tell, loses its
weight (Geman and McClure's). How far to trust the field is asked of anchors that were left out, a
quarter at a time: f is multiplied by the share, 0 to 1, that misses those least.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .fit import Floats, evenly

#: Cells along the longer side: of the field, and of the coarse one that asks what can be trusted.
FINE, COARSE = 40, 20
#: T, of the range of relative depth 0..1; w of an anchor that nothing speaks against.
_EDGE, _PULL = 0.02, 20.0
#: e: f sinks to a third over some 22 fine cells; over seven where no anchor is so near (of the
#: longer side).
_SINK, _LONELY_SINK, _NEAR = 0.002, 0.02, 0.2
_FOLDS = 4
#: Fewer anchors don't tell whom to trust.
_LEAST = 16
#: Anchors used at most, and those of them that vote on the others.
_MOST, _JUDGES = 1024, 256
#: Neighbours asked; how near in relative depth they are of one surface; the share that suffices.
_NEIGHBOURS, _SAME_SURFACE, _QUORUM = 12.0, 0.1, 0.4
#: Anchors are doubted from so many medians away from what the others tell, and from this log error.
_DOUBT = 8.0, 0.3
#: Log error from which on a miss is only a miss.
_GROSS = 0.5
#: What of the field may be kept.
_SHARES = np.arange(9) / 8.0


class Field(NamedTuple):
    """``values`` [h,w] of f; ``shape`` (H, W) of the picture.

    ``error``, ``error_without``: median |log error| at left-out anchors, with and without f.
    """

    values: NDArray[np.float32]
    shape: tuple[int, int]
    error: float
    error_without: float

    def over(self) -> NDArray[np.float32]:
        """f at every pixel, float32 [H,W]."""
        rows = _between(self.shape[0], self.values.shape[0])
        columns = _between(self.shape[1], self.values.shape[1])
        over: NDArray[np.float32] = np.linalg.multi_dot([rows, self.values, columns.T])
        return over


class Grid(NamedTuple):
    """Cells of a picture: conductances to the right [h,w-1] and down [h-1,w]."""

    shape: tuple[int, int]
    right: Floats
    down: Floats


def make_grid(depth: NDArray[np.float32], cells: int) -> Grid:
    height, width = depth.shape
    h, w = cell_count(height, height, width, cells), cell_count(width, height, width, cells)
    rows = ((np.arange(h) + 0.5) * height / h).astype(int)
    columns = ((np.arange(w) + 0.5) * width / w).astype(int)
    d = depth[rows[:, None], columns].astype(np.float64)
    d[~np.isfinite(d)] = 0.0
    scale = (FINE / cells) * _EDGE
    return Grid(
        (h, w), _conductance(np.diff(d, axis=1), scale), _conductance(np.diff(d, axis=0), scale)
    )


def cell_count(side: int, height: int, width: int, cells: int) -> int:
    """At least two, and ``cells`` along the longer side."""
    return max(2, min(side, round(cells * side / max(height, width))))


def _conductance(step: Floats, edge: float) -> Floats:
    return 1.0 / (1.0 + np.square(step / edge))


class Places(NamedTuple):
    """Where anchors lie among the cells: the cell up and left of each, and the share of the way to
    the next one down and to the right. All [N]."""

    row: NDArray[np.intp]
    column: NDArray[np.intp]
    down: Floats
    right: Floats

    def shares(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Of the cell itself, the right one, the one below, and the one below to the right."""
        up, left = 1.0 - self.down, 1.0 - self.right
        return up * left, up * self.right, self.down * left, self.down * self.right

    def read(self, values: Floats) -> Floats:
        """Bilinear, [..., N] of [..., h, w]."""
        row, column = self.row, self.column
        here, right, below, both = self.shares()
        found: Floats = (
            here * values[..., row, column]
            + right * values[..., row, column + 1]
            + below * values[..., row + 1, column]
            + both * values[..., row + 1, column + 1]
        )
        return found


def places_in(grid: Grid, shape: tuple[int, int], x: Floats, y: Floats) -> Places:
    """Of pixels x, y in a picture of ``shape``."""
    (h, w), (height, width) = grid.shape, shape
    down = np.clip((y + 0.5) * h / height - 0.5, 0.0, h - 1.0)
    right = np.clip((x + 0.5) * w / width - 0.5, 0.0, w - 1.0)
    row = np.minimum(down.astype(np.intp), h - 2)
    column = np.minimum(right.astype(np.intp), w - 2)
    return Places(row, column, down - row, right - column)


def sinks(grid: Grid, at: Places, cells: int) -> Floats:
    """e of each cell, [h,w], in a grid of so many cells along the longer side."""
    near: NDArray[np.bool_] = np.zeros(grid.shape, bool)
    near[at.row, at.column] = True
    reach = round(_NEAR * cells)
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (reach, reach)
        near = sliding_window_view(np.pad(near, margin), 2 * reach + 1, axis).max(axis=-1)
    return np.where(near, _SINK, _LONELY_SINK) * (FINE / cells) ** 2


def membranes(grid: Grid, at: Places, rho: Floats, pulls: Floats, sink: Floats) -> Floats:
    """f, [K,h,w], for K different ``pulls`` [K,N] of the same anchors; ``sink`` [h,w].

    The equations couple a column of cells with its two neighbours alone: they are eliminated column
    by column (block LU), and those of the longer side come one after the other.
    """
    if grid.shape[0] > grid.shape[1]:
        turned = Grid(grid.shape[::-1], grid.down.T, grid.right.T)
        there = Places(at.column, at.row, at.right, at.down)
        return membranes(turned, there, rho, pulls, sink.T).swapaxes(1, 2)
    within, across, right_side = _equations(grid, at, rho, pulls, sink)
    count = grid.shape[1]
    reach: list[Floats] = []
    known: list[Floats] = []
    block, target = within[0], right_side[0]
    for column in range(count - 1):
        both = np.linalg.solve(block, np.concatenate([across[column], target], axis=-1))
        reach.append(both[..., :-1])
        known.append(both[..., -1:])
        back = across[column].swapaxes(-1, -2)
        block = within[column + 1] - back @ reach[-1]
        target = right_side[column + 1] - back @ known[-1]
    values: list[Floats] = [np.linalg.solve(block, target)]
    for column in range(count - 2, -1, -1):
        values.append(known[column] - reach[column] @ values[-1])
    cells: Floats = np.concatenate(values[::-1], axis=-1)
    return cells


def _equations(
    grid: Grid, at: Places, rho: Floats, pulls: Floats, sink: Floats
) -> tuple[Floats, Floats, Floats]:
    """Blocks of the columns [w,K,h,h], from each to the next [w-1,K,h,h], right sides [w,K,h,1]."""
    (h, w), count = grid.shape, len(pulls)
    here, right, lower, both = at.shares()
    cell = at.column * h + at.row

    def gather(part: Floats, step: int = 0) -> Floats:
        """Sums of what anchors bring to the cell ``step`` after their own, [K,w,h]."""
        sums = [np.bincount(cell + step, one, h * w) for one in part * pulls]
        gathered: Floats = np.stack(sums).reshape(count, w, h).astype(np.float64, copy=False)
        return gathered

    diagonal = gather(here * here) + gather(right * right, h) + sink.T
    diagonal += gather(lower * lower, 1) + gather(both * both, h + 1)
    diagonal[:, :-1] += grid.right.T
    diagonal[:, 1:] += grid.right.T
    diagonal[:, :, :-1] += grid.down.T
    diagonal[:, :, 1:] += grid.down.T
    below = gather(here * lower) + gather(right * both, h)
    below[:, :, :-1] -= grid.down.T
    beside = gather(here * right) + gather(lower * both, 1)
    beside[:, :-1] -= grid.right.T
    falling, rising = gather(here * both), gather(lower * right)
    k = np.arange(h)
    within = np.zeros((w, count, h, h))
    across = np.zeros((w - 1, count, h, h))
    within[:, :, k, k] = diagonal.swapaxes(0, 1)
    within[:, :, k[:-1], k[1:]] = within[:, :, k[1:], k[:-1]] = below[..., :-1].swapaxes(0, 1)
    across[:, :, k, k] = beside[:, :-1].swapaxes(0, 1)
    across[:, :, k[:-1], k[1:]] = falling[:, :-1, :-1].swapaxes(0, 1)
    across[:, :, k[1:], k[:-1]] = rising[:, :-1, :-1].swapaxes(0, 1)
    target = gather(here * rho) + gather(right * rho, h)
    target += gather(lower * rho, 1) + gather(both * rho, h + 1)
    return within, across, target.swapaxes(0, 1)[..., None]


def fit_field(
    depth: NDArray[np.float32], x: Floats, y: Floats, d: Floats, rho: Floats, trust: Floats
) -> Field | None:
    """The field from residuals; None where left-out anchors are told no better with it.

    Args:
        depth: relative, [H,W]; x, y: the anchors' pixels, [N]; d: relative depth there;
        rho: log z - log(s d + t) there; trust: 0 to 1, of each anchor.
    """
    if len(x) > _MOST:
        some = evenly(len(x), _MOST)
        x, y, d, rho, trust = x[some], y[some], d[some], rho[some], trust[some]
    if len(x) < _LEAST:
        return None
    shape = depth.shape[0], depth.shape[1]
    coarse = make_grid(depth, COARSE)
    at = places_in(coarse, shape, x, y)
    ways = _ways_of_doubt(shape, coarse, at, (x, y, d, rho), _PULL * trust)
    pulls, told = min(ways, key=lambda way: trust @ np.minimum(np.abs(way[1] - rho), _GROSS))
    misses = pulls @ np.abs(told[:, None] * _SHARES - rho[:, None])
    share = float(_SHARES[misses.argmin()])
    if share == 0.0:
        return None
    fine = make_grid(depth, FINE)
    at = places_in(fine, shape, x, y)
    values = share * membranes(fine, at, rho, pulls[None], sinks(fine, at, FINE))[0]
    error = _median(np.abs(share * told - rho))
    return Field(values.astype(np.float32), shape, error, _median(np.abs(rho)))


def _ways_of_doubt(
    shape: tuple[int, int], grid: Grid, at: Places, anchors: tuple[Floats, ...], pulls: Floats
) -> Iterator[tuple[Floats, Floats]]:
    """(pulls, what is told to left-out anchors): of all alike, of those that neighbours vote for,
    and of those that the others' membrane doesn't contradict either."""
    rho = anchors[-1]
    yield pulls, _told_by_others(grid, at, rho, pulls)
    voted = _voted(shape, *anchors)
    told = _told_by_others(grid, at, rho, pulls * voted)
    yield pulls * voted, told
    away = np.abs(told - rho)
    doubt = max(_DOUBT[0] * _median(away[voted > 0.5]), _DOUBT[1])
    trusted = pulls * voted / np.square(1.0 + np.square(away / doubt))
    yield trusted, _told_by_others(grid, at, rho, trusted)


def _voted(shape: tuple[int, int], x: Floats, y: Floats, d: Floats, rho: Floats) -> Floats:
    """0 to 1, [N]: whether enough of an anchor's neighbours have a residual like its own. The
    neighbours vote the more the nearer they are, in the picture and in relative depth."""
    count = len(x)
    judges = evenly(count, _JUDGES)
    reach = _NEIGHBOURS * shape[0] * shape[1] / (np.pi * len(judges))
    distance = np.square(x[:, None] - x[judges]) + np.square(y[:, None] - y[judges])
    distance /= reach
    vote = (distance < 1.0) / (1.0 + 2.0 * distance)
    vote /= 1.0 + np.square((d[:, None] - d[judges]) / _SAME_SURFACE)
    vote[judges, np.arange(len(judges))] = 0.0
    alike = min(max(1.6 / np.sqrt(len(judges)), 0.06), 0.3)
    agreed = vote / (1.0 + np.square(np.square((rho[:, None] - rho[judges]) / alike)))
    votes = vote.sum(axis=1)
    share = np.where(votes > 0.0, agreed.sum(axis=1) / np.maximum(votes, 1e-12), 1.0)
    voted: Floats = np.square(np.minimum(share / _QUORUM, 1.0))
    return voted


def _told_by_others(grid: Grid, at: Places, rho: Floats, pulls: Floats) -> Floats:
    """f at every anchor, [N], of a membrane that a quarter of the anchors with it doesn't hold."""
    fold = np.arange(len(rho)) % _FOLDS
    kept = (fold != np.arange(_FOLDS)[:, None]) * pulls
    fields = membranes(grid, at, rho, kept, sinks(grid, at, COARSE))
    told: Floats = np.take_along_axis(at.read(fields), fold[None], axis=0)[0]
    return told


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


@functools.lru_cache(maxsize=16)
def _between(side: int, cells: int) -> NDArray[np.float32]:
    """[side, cells]: linear between the cells' centres, constant beyond the outer ones."""
    place = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0.0, cells - 1.0)
    low = np.minimum(place.astype(int), cells - 2)
    shares = np.zeros((side, cells), np.float32)
    shares[np.arange(side), low] = 1.0 - (place - low)
    shares[np.arange(side), low + 1] = place - low
    return shares
