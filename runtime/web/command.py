"""``apdepth-deploy web``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import say, steps

from .site import write_site

app = typer.Typer(add_completion=False)


@app.command()
def web(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the site.")],
    precision: Annotated[
        str | None, typer.Option(help="fp32, fp16; default: fp32 if there.")
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the npm package, as npm unpacks it; default: fetched from npm's "
            "registry.",
        ),
    ] = None,
) -> None:
    """Write a static site: a page that runs the bundle's fused graph in the browser.

    Any web server can give it out, under any path. Pictures don't leave the browser.
    """
    with steps() as progress:
        notes = write_site(bundle, output, precision, onnxruntime_web, progress)
    for note in notes:
        say(f"note: {note}")
    print(f"wrote {output}")
