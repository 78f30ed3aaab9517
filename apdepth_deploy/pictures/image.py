"""Pictures in: files as uint8 RGB, upright; arrays checked and resized."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apdepth_deploy.errors import ImageError
from apdepth_deploy.pictures.decode import Picture, focal_35mm_of, is_unsupported, open_picture

#: What a folder is searched for. The reader takes more kinds: see ``pictures``.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
#: Below this a frame holds no more than two latents across: nothing to see depth in.
MIN_SIDE = 16
#: Well above the 200 million of a phone; reading this many takes 4 GB.
MAX_PIXELS = 1 << 29
#: Pixels worked on at a time.
_STRIP = 1 << 20

ImageArray = NDArray[np.uint8]
DepthArray = NDArray[np.float32]


class Reading(NamedTuple):
    """A picture as ``read_image`` gives it; the EXIF orientation that it was turned by, 1 = not at
    all; whether its file holds further pictures; and EXIF's focal length in mm as for 35 mm film,
    None where it isn't said."""

    image: ImageArray
    orientation: int
    several: bool
    focal_35mm: float | None = None


def read_image(path: Path) -> ImageArray:
    """Read a picture as uint8 RGB [H,W,3]: EXIF orientation applied, alpha dropped.

    Grey, palette, CMYK and 16-bit pictures are converted; 16-bit values are divided by 257. Where
    a PNG says that fewer bits are significant and they lie at the bottom, those are the range. Of
    several pictures in a file the first is read. Colour profiles and gamma are left alone.

    Raises:
        ImageError: not a picture; damaged or truncated; a layout that isn't supported, or without
            a fixed range (float); smaller than ``MIN_SIDE``, larger than ``MAX_PIXELS`` or than
            memory.
    """
    return read_picture(path).image


def read_picture(path: Path) -> Reading:
    """``read_image``, with what else is known of the file."""
    with _image_errors(f"{path}: "):
        if path.exists() and not path.is_file():
            raise ImageError("not a file: pictures are read from files alone")
        with path.open("rb") as file:
            return _read(file, MAX_PIXELS)


def decode_picture(data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> Reading:
    """``read_picture`` of a file's bytes; ImageError for more than ``max_pixels``, too."""
    with _image_errors(""):
        return _read(io.BytesIO(data), max_pixels)


@contextmanager
def _image_errors(before: str) -> Iterator[None]:
    """Whatever goes wrong is an ImageError with this in front."""
    try:
        yield
    except MemoryError as error:
        raise ImageError(f"{before}not enough memory to read a picture of this size") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{before}too many pixels for Pillow's reader of this kind: save it as JPEG or PNG"
        ) from error
    except ImageError as error:
        raise ImageError(f"{before}{error}") from error
    except Exception as error:  # Pillow's decoders let a dozen unrelated types out
        raise ImageError(f"{before}{_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return f"can't be opened: {error.strerror}"
    if is_unsupported(error):
        return f"of a kind that can't be read: {error}"
    return f"damaged or truncated: {error}"


def _read(file: BinaryIO, max_pixels: int) -> Reading:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's notes on metadata
        picture = open_picture(file)
        width, height = picture.image.size
        check_size(height, width)
        if height * width > max_pixels:
            raise ImageError(
                f"too many pixels: {width}x{height}, and the limit is {max_pixels // 1000000} "
                "million: make it smaller first"
            )
        focal = focal_35mm_of(picture.image)
        image = _decode(picture)
        picture.image.close()  # its memory is not needed for turning
        image = upright(image, picture.orientation)
        return Reading(image, picture.orientation, picture.several, focal)


def _decode(picture: Picture) -> ImageArray:
    """All of it, not turned yet."""
    picture.image.load()
    width, height = picture.image.size
    result = np.empty((height, width, 3), dtype=np.uint8)
    white = _white(picture)
    for rows in strips(height, width):
        strip = _crop(picture, rows)
        if strip.mode.startswith("I"):  # Pillow's own conversion would clip at 255
            grey = _scaled(np.asarray(strip), white, picture.negative)
            result[rows] = grey[..., None]
        else:
            result[rows] = np.asarray(_rgb(strip))
    return result


def strips(height: int, width: int) -> Iterator[slice]:
    """Rows to work on at a time, so that what is made on the way stays small."""
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _crop(picture: Picture, rows: slice) -> Image.Image:
    return picture.image.crop((0, rows.start, picture.image.width, rows.stop))


def _white(picture: Picture) -> int:
    """The value that is white. A PNG's 12 significant bits should be the upper ones of 16; many
    thermal and infrared cameras leave them where they were, which their lowest bits show."""
    bits, (width, height) = picture.significant_bits, picture.image.size
    if picture.image.mode != "I;16" or not 0 < bits < 16:
        return picture.white
    used = 0
    for rows in strips(height, width):
        used |= int(np.bitwise_or.reduce(np.asarray(_crop(picture, rows)), axis=None))
    at_the_bottom = used < 1 << bits and used % (1 << 16 - bits)
    return (1 << bits) - 1 if at_the_bottom else picture.white


def _scaled(values: NDArray[Any], white: int, negative: bool) -> NDArray[np.uint8]:
    if values.min() < 0 or values.max() > white:
        raise ImageError(f"its 32-bit values leave 0..{white}: convert it to 8 or 16 bits")
    scaled = values.astype(np.uint32) * 255 // white
    return (255 - scaled if negative else scaled).astype(np.uint8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("float values have no fixed range: convert it to 8 or 16 bits")
    if image.mode == "La":  # colours multiplied by alpha: Pillow has no direct way
        image = image.convert("LA")
    return image if image.mode == "RGB" else image.convert("RGB")


def upright(image: ImageArray, orientation: int) -> ImageArray:
    """uint8 [H,W,3] as it is stored -> as it is meant: EXIF 2.3, tag 0x0112, 1 to 8."""
    turned = image.swapaxes(0, 1) if orientation >= 5 else image
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(turned[::rows, ::columns])


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
