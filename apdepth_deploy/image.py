"""Pictures in: every format Pillow reads, upright, as uint8 RGB."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from apdepth_deploy.errors import ImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"})
#: Below this a frame holds no more than two latents across: nothing to see depth in.
MIN_SIDE = 16

ImageArray = NDArray[np.uint8]
DepthArray = NDArray[np.float32]


class Reading(NamedTuple):
    """A picture as ``read_image`` gives it, and the EXIF orientation that it was turned by, 1 = not
    at all.
    """

    image: ImageArray
    orientation: int


def read_image(path: Path) -> ImageArray:
    """Read a picture as uint8 RGB [H,W,3]: EXIF orientation applied, alpha dropped.

    Grey, palette, CMYK and 16-bit pictures are converted; 16-bit values are divided by 257.

    Raises:
        ImageError: not a picture, truncated, of a kind without a fixed range (float), or smaller
            than ``MIN_SIDE``.
    """
    return read_picture(path).image


def read_picture(path: Path) -> Reading:
    """``read_image``, with what else is known of the file."""
    try:
        return _decode(path)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too many pixels: {error}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except Exception as error:  # Pillow's decoders let a dozen unrelated types out
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{path}: can't be opened: {error.strerror}") from error
        raise ImageError(f"{path}: damaged or truncated: {error}") from error


def _decode(path: Path) -> Reading:
    if path.exists() and not path.is_file():
        raise ImageError("not a file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's notes on metadata, and on merely large pictures
        with Image.open(path) as opened:
            check_size(opened.height, opened.width)
            orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
            upright = _to_rgb(ImageOps.exif_transpose(opened))
            return Reading(np.asarray(upright, dtype=np.uint8), orientation)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("float values have no fixed range: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError("its 32-bit values leave 0..65535: convert it to 8 or 16 bits")
        return Image.fromarray((values // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def check_image(image: object) -> ImageArray:
    """The array itself, where it is uint8 [H,W,3] of a size that works; else ImageError."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        found = (
            f"{image.dtype} {list(image.shape)}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise ImageError(f"an image is a uint8 array [H,W,3] in RGB order, not {found}")
    if image.shape[2] != 3:
        raise ImageError(f"an image has 3 channels, not {image.shape[2]}: convert it to RGB")
    check_size(image.shape[0], image.shape[1])
    return image


def check_size(height: int, width: int) -> None:
    """Raises ImageError for a picture with a side under ``MIN_SIDE``."""
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"{width}x{height} pixels is too small: both sides must have at least {MIN_SIDE}"
        )


def resize_image(image: ImageArray, height: int, width: int) -> ImageArray:
    """uint8 [H,W,3] -> uint8 [height,width,3], antialiased bilinear; the same where sizes agree."""
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def resize_depth(depth: DepthArray, height: int, width: int) -> DepthArray:
    """float32 [H,W] -> float32 [height,width], antialiased bilinear."""
    if depth.shape == (height, width):
        return depth
    resized = Image.fromarray(depth).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)  # a copy: Pillow's own memory is read-only
