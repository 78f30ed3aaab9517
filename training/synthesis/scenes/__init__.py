"""Whole scenes: a room, a table-top, a street, an open place; each with places to look from."""

from __future__ import annotations

from .design import Design, View, Views
from .indoors import room, table_top
from .outdoors import open_place, street

__all__ = ["DESIGNS", "Design", "View", "Views"]

DESIGNS: tuple[Design, ...] = (
    Design("room", room, share=0.6, near=0.35, far=60.0, max_depth=3),
    Design("table", table_top, share=0.18, near=0.15, far=60.0, max_depth=3),
    Design("street", street, share=0.14, near=0.8, far=60.0, max_depth=2),
    Design("place", open_place, share=0.08, near=0.8, far=60.0, max_depth=2),
)
