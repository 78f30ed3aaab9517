"""Golden frames: pictures in a bundle, and every stage's result of PyTorch's float32 model.

With them an engine can be judged where it runs, without torch. This module alone reads and writes
them; docs/engines.md says what a file holds. Knows nothing about who is judged, and how.
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apdepth_deploy.bundle.bundle import Bundle, file_entry
from apdepth_deploy.errors import BundleError

#: What a result's largest magnitude becomes.
_MOST = 32767
#: Bytes that a file may hold for each pixel, and beyond: it is read into memory whole.
_MOST_BYTES = 64, 1 << 16


@dataclasses.dataclass(frozen=True)
class Golden:
    """One frame and its results.

    Attributes:
        image: uint8 RGB [H,W,3]; results: {tensor, as graphs call it: float32 without the batch},
            each within scale / 65534 of PyTorch's.
        scales: the largest magnitude of each of PyTorch's results; 1 for depth.
    """

    name: str
    image: NDArray[np.uint8]
    results: Mapping[str, NDArray[np.float32]]
    scales: Mapping[str, float]


def read_golden(bundle: Bundle) -> list[Golden]:
    """Every golden frame, its file compared with the manifest's SHA-256.

    Raises BundleError where there are none, or one is damaged.
    """
    section = bundle.manifest.get("golden")
    if section is None:
        raise BundleError(
            f"{bundle.folder} has no golden frames: export it again, without --no-verify"
        )
    return [_read(bundle, entry) for entry in section["frames"]]


def write_golden(bundle: Bundle, golden: Golden) -> dict[str, Any]:
    """Write one file and enter its hash; returns its entry for the manifest's golden frames."""
    arrays = {"image": _differences(golden.image.reshape(len(golden.image), -1), 3)}
    for name, result in golden.results.items():
        stored = result[:1] if result.ndim == 3 and (result == result[:1]).all() else result
        scaled = np.rint(stored.astype(np.float64) * (_MOST / (golden.scales[name] or 1.0)))
        arrays[name] = _differences(scaled.astype(np.int16))
    file = f"golden/{golden.name}.npz"
    path = bundle.path(file)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    bundle.manifest["files"][file] = file_entry(path)
    height, width = golden.image.shape[:2]
    tensors = {
        name: {"shape": list(result.shape), "scale": golden.scales[name]}
        for name, result in golden.results.items()
    }
    return {"name": golden.name, "file": file, "height": height, "width": width, "tensors": tensors}


def _read(bundle: Bundle, entry: Mapping[str, Any]) -> Golden:
    file, height, width = entry["file"], entry["height"], entry["width"]
    bundle.check_hash(file)
    path = bundle.path(file)
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > (
                _MOST_BYTES[0] * height * width + _MOST_BYTES[1]
            ):
                raise ValueError("more than a frame and its results")
        with np.load(path, allow_pickle=False) as arrays:
            image = _sums(arrays["image"], np.uint8, (height, 3 * width), 3)
            results = {name: _result(arrays[name], told) for name, told in entry["tensors"].items()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path} holds no golden frame: {error}. Export it again") from error
    scales = {name: float(told["scale"]) for name, told in entry["tensors"].items()}
    return Golden(entry["name"], image.reshape(height, width, 3), results, scales)


def _result(stored: NDArray[Any], told: Mapping[str, Any]) -> NDArray[np.float32]:
    """float32 of the shape that the manifest tells; channels that are equal are stored once."""
    shape = tuple(told["shape"])
    once = (1, *shape[1:])
    values = _sums(stored, np.int16, once if stored.shape == once else shape, 1)
    scaled = (values * (told["scale"] / _MOST)).astype(np.float32)
    return scaled if scaled.shape == shape else np.repeat(scaled, shape[0], axis=0)


def _differences(values: NDArray[Any], step: int = 1) -> NDArray[Any]:
    """Each value less the one ``step`` before it in its row, modulo its type: that packs better."""
    differences = values.copy()
    differences[..., step:] -= values[..., :-step]
    return differences


def _sums(stored: NDArray[Any], dtype: Any, shape: tuple[int, ...], step: int) -> NDArray[Any]:
    """The values again. Raises ValueError for another type or shape than was written."""
    if stored.dtype != dtype or stored.shape != shape:
        raise ValueError(f"{stored.dtype} {list(stored.shape)} in place of {list(shape)}")
    rows = stored.reshape(*shape[:-1], -1, step)
    values: NDArray[Any] = np.cumsum(rows, axis=-2, dtype=dtype).reshape(shape)
    return values
