"""Rendered scenes, as `apdepth-deploy synthesize` writes them."""

from __future__ import annotations

from pathlib import Path

from apdepth_deploy.errors import DataError

from .files import Folder, read_depth_png, read_list, read_rgb
from .sample import Sample


class SyntheticDataset:
    """One split of a rendered set: pixels without depth are sky.

    Raises DataError where the split is missing or not complete.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.name = f"{folder.name}/{split}"
        place = folder / split
        if not (place / "list.txt").is_file():
            raise DataError(
                f"{place} has no list.txt: run `apdepth-deploy synthesize` to its end, with frames "
                f"for {split}"
            )
        self.source = Folder(place)
        self.pairs = read_list(place / "list.txt", columns=2)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        rgb, depth = self.pairs[index][:2]
        image = read_rgb(self.source, rgb)
        metres = read_depth_png(self.source, depth, 1000.0, image.shape[:2])
        return Sample(rgb, image, metres, metres > 0)

    def stamp(self, index: int) -> str:
        return ascii([(name, *self.source.stamp(name)) for name in self.pairs[index][:2]])
