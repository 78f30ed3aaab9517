"""``apdepth-deploy infer``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import printable, say

from ..choice import load
from ..each import tell
from ..feeds.search import find_images
from .folder import infer_folder

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
    found = find_images(images)
    for line in found.left_out:
        say(line)
    predictor = load(
        bundle,
        backend,
        device=device,
        precision=precision,
        threads=threads,
        checkpoint=checkpoint,
    )
    reason = predictor.reason
    tell(predictor, bundle)
    failures = infer_folder(predictor, found.jobs, output)
    for failure in failures:
        say(f"failed: {failure}")
    if predictor.reason != reason:
        say(predictor.reason)
    done = len(found.jobs) - len(failures)
    print(printable(f"{done} of {len(found.jobs)} pictures done, depth in {output}"))
    if failures:
        raise SystemExit(1)
