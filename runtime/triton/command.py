"""``apdepth-deploy triton``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import say, steps

from .choice import Wanted
from .repository import write_repository

app = typer.Typer(add_completion=False)


@app.command()
def triton(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the repository.")],
    backend: Annotated[
        str,
        typer.Option(
            help="auto, tensorrt, onnxruntime, python; auto: tensorrt where the bundle has a "
            "standard TensorRT engine, else onnxruntime."
        ),
    ] = "auto",
    device: Annotated[
        list[str] | None,
        typer.Option(
            help="cpu, cuda (every GPU), or cuda:0, cuda:1, ...: repeat for several. Default: "
            "cuda; cpu for backend python."
        ),
    ] = None,
    instances: Annotated[int, typer.Option(help="Copies of the model on each device.")] = 1,
    graph: Annotated[
        str | None, typer.Option(help="fused, staged (an ensemble); default: fused if there.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16; default: what runs best.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model in requests.")] = "apdepth",
) -> None:
    """Write a model repository for NVIDIA Triton Inference Server."""
    wanted = Wanted(backend, precision, graph, tuple(device or ()), instances, name)
    with steps() as progress:
        choice = write_repository(bundle, output, wanted, progress)
    for note in choice.notes:
        say(f"note: {note}")
    print(f"{name}: {choice}")
    print(f"wrote {output}")
