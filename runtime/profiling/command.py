"""``apdepth-deploy profile``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.bundle import to_json
from apdepth_deploy.console import steps
from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, check_writable

from .measure.profile import profile_bundle
from .measure.results import Plan
from .report.html import html_report
from .report.text import describe

app = typer.Typer(add_completion=False)


@app.command()
def profile(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    backend: Annotated[
        list[str] | None,
        typer.Option(help="As in infer; repeat to compare several with the first."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16, bf16; repeat for several; default: what runs best."),
    ] = None,
    device: Annotated[str, typer.Option(help="As in infer.")] = "auto",
    image: Annotated[
        Path | None, typer.Option(help="Picture to run on; default: a photo in the package.")
    ] = None,
    runs: Annotated[int, typer.Option(help="Timed runs of each backend.")] = 50,
    warm_up: Annotated[int, typer.Option(help="Runs of each before those.")] = 5,
    layers: Annotated[bool, typer.Option("--layers", help="Time every layer, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots: one file, opens from disk.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="For backend torch: weights, if not the manifest's.")
    ] = None,
) -> None:
    """Measure latency, throughput, stages, layers, memory and the roofline, here and now.

    Several backends run in turns in this one process; ratios are of medians, to the first.
    """
    plan = Plan(
        backends=tuple(backend or ["auto"]),
        precisions=tuple(precision or [None]),
        device=device,
        checkpoint=checkpoint,
        image=image,
        runs=runs,
        warm_up=warm_up,
        layers=layers,
    )
    if html is not None:
        if html.is_dir():
            raise UsageError(f"--html {html} is a folder: name a file")
        check_writable(html)  # minutes of measuring come first
    with steps() as progress:
        found = profile_bundle(bundle, plan, progress)
    if html is not None:
        with atomic_file(html) as temporary:
            temporary.write_text(html_report(found), encoding="utf-8")
    print(to_json(found) if as_json else "\n".join(describe(found)))
