"""``apdepth-deploy train``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import steps

from .config import read_config

app = typer.Typer(add_completion=False)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="TOML file: see training/recipes.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder of the run, in place of the file's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Take one step, say what it was, write nothing.")
    ] = False,
) -> None:
    """Train, from the last checkpoint in the run's folder on if there is one.

    On several GPUs or machines: accelerate launch -m apdepth_deploy.training CONFIG
    """
    run = read_config(config)
    if output is not None:
        run = dataclasses.replace(run, output=output)
    with steps() as progress:
        progress("starting PyTorch")
        from .loop import train

        finished = train(run, progress, dry_run=dry_run)
    if finished is not None:
        print(f"wrote {finished}")
