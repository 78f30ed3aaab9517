"""``apdepth-deploy data``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import steps

app = typer.Typer(add_completion=False)


@app.callback()
def _root() -> None:
    """Bring data sets into the layout that training reads."""


@app.command()
def hypersim(
    raw: Annotated[Path, typer.Argument(help="Folder of the ai_VVV_NNN scenes as released.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the pairs.")],
    split_csv: Annotated[
        Path, typer.Option(help="The release's metadata_images_split_scene_v1.csv.")
    ],
    split: Annotated[str, typer.Option(help="train, val, test.")] = "train",
    workers: Annotated[int, typer.Option(help="Processes.")] = os.cpu_count() or 1,
    bad_samples: Annotated[int, typer.Option(help="Bad frames to step over by name.")] = 100,
) -> None:
    """Hypersim's HDF5 files to tone-mapped pictures and plane depth, 480x640."""
    from .hypersim import prepare_hypersim

    with steps() as progress:
        count = prepare_hypersim(raw, output, split_csv, split, workers, bad_samples, progress)
    print(f"{output}: {count} pairs for {split}")
