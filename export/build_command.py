"""``apdepth-deploy build``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.bundle import Engine, to_json
from apdepth_deploy.commands.inspect import engines_table
from apdepth_deploy.console import steps
from apdepth_deploy.errors import UsageError

app = typer.Typer(add_completion=False)


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    target: Annotated[str, typer.Option(help="tensorrt-rtx (needs no GPU) or tensorrt.")],
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help='sm89, 8.9, "RTX 4090" or current; repeat for several GPUs in one engine. '
            "Default: the RTX 30, 40 and 50 series, or for tensorrt the GPU here."
        ),
    ] = None,
    graph: Annotated[
        list[str] | None, typer.Option(help="fused, staged; default: all in the bundle.")
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, fp16, bf16; default: all in the bundle.")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="MB of scratch memory a layer may take.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the engines as JSON.")] = False,
) -> None:
    """Build TensorRT engines from the graphs of a bundle, into the bundle."""
    if workspace is not None and workspace < 1:
        raise UsageError(f"--workspace must be at least 1 MB, not {workspace}")
    with steps() as progress:
        from .engine_build import build_engines

        engines = build_engines(
            bundle,
            target,
            gpu or (),
            graphs=graph or (),
            precisions=precision or (),
            workspace=None if workspace is None else workspace * 1_000_000,
            progress=progress,
        )
    print(_as_json(engines) if as_json else engines_table(engines))


def _as_json(engines: list[Engine]) -> str:
    return to_json([dataclasses.asdict(engine) for engine in engines])
