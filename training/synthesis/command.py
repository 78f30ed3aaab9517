"""``apdepth-deploy synthesize``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import steps

from .dataset import PATHS, Settings, synthesize

app = typer.Typer(add_completion=False)


@app.command("synthesize")
def command(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the set.")],
    train: Annotated[int, typer.Option(help="Frames to train on.")] = 4000,
    val: Annotated[int, typer.Option(help="Frames to look at while training.")] = 100,
    test: Annotated[int, typer.Option(help="Frames held out.")] = 200,
    height: Annotated[int, typer.Option(help="Frame height.")] = 192,
    width: Annotated[int, typer.Option(help="Frame width.")] = 256,
    seed: Annotated[int, typer.Option(help="Draws all scenes.")] = 0,
    spp: Annotated[int, typer.Option(help="Light paths a pixel: more is slower, finer.")] = 4,
    views: Annotated[int, typer.Option(help="Frames of each scene.")] = 1,
    path: Annotated[
        str | None,
        typer.Option(help=f"The views follow a moving camera: {', '.join(PATHS)}."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = os.cpu_count() or 1,
) -> None:
    """Render rooms, table-tops and streets with exact depth. Run again, it goes on."""
    import mitsuba  # noqa: F401 - to miss them here, and not in every worker
    import pyoidn  # noqa: F401

    frames = {"train": train, "val": val, "test": test}
    with steps() as progress:
        synthesize(
            output, Settings(seed, height, width, spp, views, path), frames, workers, progress
        )
    print(f"wrote {output}")
