"""ROS camera_info in YAML: files of camera_calibration, and what ``topic echo`` prints.

Of YAML it reads what these two write: keys with a value, a list in brackets, or a list of lines
that start with a dash; matrices are a list, or have theirs under ``data``.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from apdepth_deploy.errors import UsageError

from .camera import Camera


class CameraInfo(NamedTuple):
    """The camera of the rectified pictures, and whether the lens distorts the unrectified."""

    camera: Camera
    distorted: bool


def read_camera_info(path: Path) -> CameraInfo:
    """The projection matrix P, or K where P is missing or 0; the size of the full pictures.

    Raises UsageError for a file that can't be read, isn't of these layouts, isn't calibrated, or
    is of a part of the pictures (``roi``).
    """
    try:
        sections = _sections(path.read_text(encoding="utf-8").lstrip("-\r\n "))
        return _parsed(sections)
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    except (ValueError, UsageError) as error:  # a UnicodeDecodeError, too
        raise UsageError(f"{path}: no camera_info of ROS that can be used: {error}") from error


def _parsed(sections: dict[str, str]) -> CameraInfo:
    width = _whole(sections, "image_width", "width")
    height = _whole(sections, "image_height", "height")
    _refuse_roi(_sections(sections.get("roi", "")), width, height)
    p = _numbers(sections, 12, "projection_matrix", "p", "P")
    k = _numbers(sections, 9, "camera_matrix", "k", "K")
    d = _numbers(sections, None, "distortion_coefficients", "d", "D")
    if p and p[0] != 0:
        camera = Camera(p[0], p[5], p[2], p[6], width, height)
    elif k and k[0] != 0:
        camera = Camera(k[0], k[4], k[2], k[5], width, height)
    else:
        raise ValueError("neither projection_matrix (p) nor camera_matrix (k) is calibrated")
    return CameraInfo(camera, any(d))


def _sections(text: str) -> dict[str, str]:
    """{key: its text} of the first document's outermost keys."""
    found: dict[str, str] = {}
    key = None
    for line in textwrap.dedent(text).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if line in ("---", "..."):
            break
        match = re.match(r"(\w+):(?:\s+(.*)|$)", line)
        if match:
            key = match[1]
            if key in found:
                raise ValueError(f"{key} stands there twice")
            found[key] = match[2] or ""
        elif key is not None:
            found[key] += "\n" + line
    return found


def _whole(sections: dict[str, str], *names: str) -> int:
    for name in names:
        if name in sections:
            return int(sections[name])
    raise ValueError(f"it has no {' or '.join(names)}")


def _numbers(sections: dict[str, str], count: int | None, *names: str) -> list[float]:
    """The list under the first of ``names`` that is there; [] where none is."""
    name = next((name for name in names if name in sections), None)
    if name is None:
        return []
    text = sections[name].strip("\n")
    text = _sections(text).get("data", text).strip()
    inside = re.fullmatch(r"\[(.*)\]", text, re.DOTALL)
    items = inside[1].split(",") if inside else re.findall(r"^\s*- +(.*)$", text, re.MULTILINE)
    numbers = [float(item) for item in items if item.strip()]
    if count is not None and len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers, not {count}")
    return numbers


def _refuse_roi(roi: dict[str, str], width: int, height: int) -> None:
    x, y = int(roi.get("x_offset", 0)), int(roi.get("y_offset", 0))
    part = (int(roi.get("width", 0)) or width, int(roi.get("height", 0)) or height)
    if (x, y) != (0, 0) or part != (width, height):
        raise ValueError("its roi is a part of the picture: give that part's --intrinsics")
