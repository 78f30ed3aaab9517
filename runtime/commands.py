"""``apdepth-deploy infer``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.bundle import Bundle

from .backends import load
from .folder import find_images, infer_folder

app = typer.Typer(add_completion=False)


@app.command()
def infer(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    images: Annotated[list[str], typer.Argument(help="Pictures, folders, or quoted globs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the depth.")],
    backend: Annotated[
        str, typer.Option(help="auto, onnxruntime, openvino, tensorrt-rtx, tensorrt, torch.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16, bf16; default: what runs best.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; default: one for each core.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="For backend torch: weights, if not the manifest's.")
    ] = None,
) -> None:
    """Depth from pictures: 16-bit PNG, NPY and a colour PNG for each.

    A picture that fails doesn't stop the others; it is named at the end and the exit code is 1.
    """
    jobs = find_images(images)
    predictor = load(
        bundle,
        backend,
        device=device,
        precision=precision,
        threads=threads,
        checkpoint=checkpoint,
    )
    print(predictor.reason, file=sys.stderr)
    for warning in predictor.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if Bundle.open(bundle).random_weights:
        print("warning: the weights are random: this depth means nothing", file=sys.stderr)
    failures = infer_folder(predictor, jobs, output)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    print(f"{len(jobs) - len(failures)} of {len(jobs)} pictures done, depth in {output}")
    if failures:
        raise SystemExit(1)
