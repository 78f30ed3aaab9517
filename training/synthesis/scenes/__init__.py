"""Whole scenes: a room, a table-top, a street, an open place; each with places to look from."""

from .indoors import DESIGNS, Design, View, Views

__all__ = ["DESIGNS", "Design", "View", "Views"]
