"""The stabiliser against its algebra written out pixel by pixel, and by what it does to streams."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from apdepth_deploy import Stabilizer
from apdepth_deploy.errors import ApDepthError, ImageError, UsageError

SIZE = 96, 128
Stream = list[tuple[np.ndarray, np.ndarray]]


def smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random field 0 .. 1 with things of some 12 pixels."""
    grid = rng.random((height // 12 + 2, width // 12 + 2))
    y, x = np.arange(height) / 12, np.arange(width) / 12
    rows, columns = y.astype(int), x.astype(int)
    b, a = (y - rows)[:, None], (x - columns)[None]
    top = grid[rows][:, columns] * (1 - a) + grid[rows][:, columns + 1] * a
    low = grid[rows + 1][:, columns] * (1 - a) + grid[rows + 1][:, columns + 1] * a
    return np.asarray(top * (1 - b) + low * b)


def world(seed: int = 0, height: int = 200, width: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """float picture [H,W,3] of 255 and depth [H,W] of a large scene to look at parts of."""
    rng = np.random.default_rng(seed)
    picture = np.stack([smooth(rng, height, width) for _ in range(3)], axis=-1) * 180 + 30
    depth = 0.2 + 0.4 * smooth(rng, height, width) + 0.3 * np.linspace(1, 0, height)[:, None]
    return picture, depth.astype(np.float32)


def shot(
    rng: np.random.Generator, picture: np.ndarray, depth: np.ndarray, noise: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """A camera's frame, and a model's depth with an error that is each frame's own."""
    noisy = picture + rng.normal(0, noise, picture.shape)
    frame = np.clip(noisy, 0, 255).round().astype(np.uint8)
    wrong = 0.02 * rng.normal(size=depth.shape)
    return frame, (depth + wrong).astype(np.float32)


def crops(path: list[tuple[int, int]], seed: int = 0, noise: float = 2.0) -> Stream:
    """A camera that looks at parts of a scene, by their top left corners."""
    rng = np.random.default_rng(seed + 1)
    picture, depth = world(seed)
    parts = [(slice(y, y + SIZE[0]), slice(x, x + SIZE[1])) for y, x in path]
    return [shot(rng, picture[part], depth[part], noise) for part in parts]


def truth(y: int, x: int, seed: int = 0) -> np.ndarray:
    return world(seed)[1][y : y + SIZE[0], x : x + SIZE[1]]


def steadied(stream: Stream, steady: Stabilizer | None = None) -> list[np.ndarray]:
    steady = steady or Stabilizer()
    return [steady(frame, depth) for frame, depth in stream]


def by_the_algebra(stream: Stream, moves: list[tuple[int, int]]) -> np.ndarray:
    """The module's first lines in plain loops over pixels, for whole known moves (so e stays 0)."""
    last_frame, last = stream[0]
    last = last.astype(np.float64)
    for (frame, depth), (down, right) in zip(stream[1:], moves, strict=True):
        height, width = depth.shape
        raw = depth.astype(np.float64)
        q = np.full((height, width), np.nan)
        moved = np.full((height, width), np.nan)
        for y in range(0, height - 1, 2):
            for x in range(0, width - 1, 2):
                if y - down >= 0 and y - down + 1 < height and 0 <= x - right < width - 1:
                    now = frame[y : y + 2, x : x + 2].reshape(4, 3).mean(0, dtype=np.float64)
                    old = last_frame[y - down : y - down + 2, x - right : x - right + 2]
                    change = now - old.reshape(4, 3).mean(0, dtype=np.float64)
                    q[y : y + 2, x : x + 2] = -np.mean(change**2) / 12**2
                    for j, i in np.ndindex(2, 2):
                        moved[y + j, x + i] = last[y + j - down, x + i - right]
        seen = np.argwhere(np.isfinite(q))
        top, left = seen.min(axis=0)
        points = [(y, x) for y, x in seen if (y - top) % 4 == 0 and (x - left) % 4 == 0]
        xs, ys, likeness = (np.array([v[p] for p in map(tuple, points)]) for v in (moved, raw, q))
        weight = np.exp(likeness)
        for _ in range(4):
            a, b = np.polyfit(xs, ys, 1, w=np.sqrt(weight))
            weight = np.exp(likeness) / (1 + ((ys - a * xs - b) / 0.1) ** 2) ** 2
        scale, shift = 0.7 / a + 0.3, 0.7 * -b / a
        new = scale * raw + shift
        keep = np.minimum(0.9, 1.1 * np.exp(q - (moved - new) ** 2 / 0.15**2))
        last = np.where(np.isfinite(q), new + keep * (moved - new), new)
        last_frame = frame
    return last


def test_it_does_what_its_first_lines_say() -> None:
    """Also across the moves: whole even pixels, which the search must find by itself."""
    moves = [(0, 0), (4, -6), (-8, 2), (0, 0)]
    path = [(40, 60)]
    for down, right in moves:
        path.append((path[-1][0] - down, path[-1][1] - right))
    stream = crops(path)
    found, expected = steadied(stream)[-1], by_the_algebra(stream, moves)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - stream[-1][1]).mean() > 1e-2


def test_a_still_scene_becomes_four_times_as_steady() -> None:
    stream = crops([(40, 60)] * 60)
    results = steadied(stream)
    before, after = (np.std(d[20:], axis=0).mean() for d in ([d for _, d in stream], results))
    assert after < before / 4
    off = np.mean(results[20:], axis=0) - truth(40, 60)
    assert np.abs(off - off.mean()).mean() < 0.005  # steady, and true


@pytest.mark.parametrize(
    ("speed", "left"), [(0.3, 0.5), (1.0, 0.6), (2.7, 0.65), (9.0, 0.8)], ids=str
)
def test_a_pan_is_steadied_too(speed: float, left: float) -> None:
    """The depth goes along with the picture; the faster, the younger is what is seen."""
    path = [(50, round(10 + speed * k)) for k in range(17)]
    stream = crops(path)
    errors = []
    for (_, depth), result, place in zip(stream, steadied(stream), path, strict=True):
        errors.append([np.abs(d - truth(*place))[:, 16:-16].mean() for d in (depth, result)])
    before, after = np.mean(errors[8:], axis=0)
    assert after < left * before


def test_a_cut_recovers_in_its_frame() -> None:
    here, there = crops([(40, 60)] * 10), crops([(40, 60)] * 10, seed=7)
    steady = Stabilizer()
    steadied(here, steady)
    assert steady.age == 10
    np.testing.assert_array_equal(steady(*there[0]), there[0][1])
    assert steady.age == 1
    np.testing.assert_array_equal(steadied(there[1:], steady), steadied(there)[1:])


def passing(frames: int, same_colours: bool) -> tuple[Stream, list[np.ndarray], list[np.ndarray]]:
    """A near thing that passes; the true depth; where it is or was in the last five frames."""
    rng = np.random.default_rng(3)
    picture, depth = (part[40:136, 60:188] for part in world())
    thing = world(5)[0][:40, :30]
    stream, true, places = [], [], []
    masks: list[np.ndarray] = []
    for k in range(frames):
        left = 4 * k
        now, z = picture.copy(), depth.copy()
        mask = np.zeros(SIZE, bool)
        mask[30:70, left : left + 30] = True
        if not same_colours:
            now[30:70, left : left + 30] = thing[:, : SIZE[1] - left]
        z[mask] = 0.05
        masks.append(mask)
        stream.append(shot(rng, now, z))
        true.append(z)
        places.append(np.any(masks[-6:], axis=0))
    return stream, true, places


@pytest.mark.parametrize("same_colours", [False, True])
def test_nothing_trails_behind_a_thing_that_moves(same_colours: bool) -> None:
    """In it and where it was, the error is the raw depth's at most; elsewhere it is halved.

    By colours; and by depth alone, where it has the colours of what is behind.
    """
    stream, true, places = passing(22, same_colours)
    errors = []
    for (_, depth), result, z, place in zip(stream, steadied(stream), true, places, strict=True):
        fit = np.polyfit(result.ravel(), z.ravel(), 1)
        raw, after = (np.abs(d - z) for d in (depth, np.polyval(fit, result)))
        errors.append([raw[place].mean(), after[place].mean(), raw[~place].mean()])
        errors[-1].append(after[~place].mean())
    raw, after, raw_rest, after_rest = np.mean(errors[8:], axis=0)
    assert after < raw
    assert after_rest < 0.5 * raw_rest


def test_scale_and_shift_that_jump_are_taken_back() -> None:
    rng = np.random.default_rng(2)
    stream = crops([(40, 60)] * 30)
    factors = rng.uniform(0.8, 1.2, 30), rng.uniform(-0.1, 0.1, 30)
    jumping = [
        (f, (d * a + b).astype(np.float32)) for (f, d), a, b in zip(stream, *factors, strict=True)
    ]
    before, after = (
        np.std(d[10:], axis=0).mean() for d in ([d for _, d in jumping], steadied(jumping))
    )
    assert after < 0.25 * before


def test_the_scale_neither_shrinks_nor_runs_away() -> None:
    """A thousand noisy frames: least squares the other way round would have lost the scale."""
    stream = crops([(40, 60)] * 25, noise=4.0)
    steady = Stabilizer()
    for number in range(1000):
        result = steady(*stream[number * 7 % 25])
    assert np.ptp(result) == pytest.approx(np.ptp(truth(40, 60)), rel=0.1)
    assert result.mean() == pytest.approx(truth(40, 60).mean(), abs=0.02)


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (17, 90)])
def test_any_size_works_and_another_one_is_a_new_start(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    steady = Stabilizer()
    steadied(crops([(40, 60)] * 3), steady)
    picture, depth = world()
    part = (slice(0, size[0]), slice(0, size[1]))
    first, *others = [shot(rng, picture[part], depth[part]) for _ in range(20)]
    np.testing.assert_array_equal(steady(*first), first[1])
    results = steadied(others, steady)
    assert results[-1].shape == size and results[-1].dtype == np.float32
    before, after = (np.std(d[8:], axis=0) for d in ([d for _, d in others], results))
    assert (after < before).mean() > 0.95  # the last odd row and column, too


def test_flat_pictures_and_flat_depth_are_no_trouble() -> None:
    steady = Stabilizer()
    for value in (0.5, 0.5, 0.51):
        result = steady(np.full((*SIZE, 3), 90, np.uint8), np.full(SIZE, value, np.float32))
    assert np.ptp(result) < 1e-6 and 0.49 < result[0, 0] < 0.52


def test_a_pixel_gone_wild_is_gone_in_the_next_frame() -> None:
    stream = crops([(40, 60)] * 12)
    stream[6][1][50, 50] = 1e30
    results = steadied(stream)
    assert results[6][50, 50] > 1e29
    np.testing.assert_allclose(results[7][50, 50], stream[7][1][50, 50], atol=0.02)
    assert np.abs(results[7] - steadied(stream[:6])[-1])[52:].max() < 0.02


def test_a_saved_state_goes_on_where_it_was() -> None:
    stream = crops([(40, 60 + k) for k in range(8)])
    steady = Stabilizer()
    steadied(stream[:4], steady)
    file = io.BytesIO()
    np.savez(file, **steady.state())
    file.seek(0)
    again = Stabilizer.from_state(np.load(file))
    assert again.age == steady.age == 4
    np.testing.assert_array_equal(steadied(stream[4:], steady), steadied(stream[4:], again))
    assert Stabilizer.from_state(Stabilizer().state()).age == 0


def test_what_it_gave_and_took_is_not_touched_afterwards() -> None:
    stream = crops([(40, 60)] * 3)
    copies = [(frame.copy(), depth.copy()) for frame, depth in stream]
    steady = Stabilizer()
    first = steady(*stream[0])
    kept = first.copy()
    first[:] = 7  # the caller's own, as its frame is
    stream[0][0][:] = 0
    second = steady(*stream[1])
    np.testing.assert_array_equal(second, steadied(copies)[1])
    assert not np.array_equal(kept, second)
    np.testing.assert_array_equal(stream[1][1], copies[1][1])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f, d: (f.astype(np.float32), d), ImageError, "uint8 array"),
        (lambda f, d: (f[..., 0], d), ImageError, "uint8 array"),
        (lambda f, d: (f, d.astype(np.float64)), ImageError, "float32 array"),
        (lambda f, d: (f, d.tolist()), ImageError, "not list"),
        (lambda f, d: (f, d[:-1]), ImageError, "not of its frame"),
        (lambda f, d: (f[:8, :8], d[:8, :8]), ImageError, "too small"),
        (lambda f, d: (f, np.where(d > 0.5, np.nan, d)), ImageError, "NaN or Inf"),
        (lambda f, d: (f, np.where(d > 0.5, -np.inf, np.inf * d)), ImageError, "NaN or Inf"),
    ],
)
def test_other_arrays_are_refused_and_leave_the_state(
    spoil: Callable[..., tuple[np.ndarray, np.ndarray]], error: type[ApDepthError], words: str
) -> None:
    stream = crops([(40, 60)] * 3)
    steady = Stabilizer()
    steadied(stream[:2], steady)
    with pytest.raises(error, match=words):
        steady(*spoil(*stream[2]))
    np.testing.assert_array_equal(steady(*stream[2]), steadied(stream)[2])


def test_another_files_arrays_are_no_state() -> None:
    state = Stabilizer().state()
    with pytest.raises(UsageError, match="not a stabiliser's state"):
        Stabilizer.from_state({**state, "depth": np.zeros((20, 20), np.float32)})
