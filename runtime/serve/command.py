"""``apdepth-deploy serve``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.console import say
from apdepth_deploy.errors import UsageError

from ..choice import load
from ..each import Device, Precision, tell

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    bundles: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE...", help="Folders that export wrote; first: the default."),
    ],
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(help="With --host: a name that the server is also asked for by; repeatable."),
    ] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="As of `infer`; repeatable: each bundle is then served on each."),
    ] = None,
    device: Device = "auto",
    precision: Precision = None,
) -> None:
    """Depth over HTTP: an API, a stream for cameras, metrics, and a page to try them.

    Beyond this machine every request needs a token: the link that is printed holds it. It is drawn
    anew each time, unless APDEPTH_TOKEN holds one.
    """
    try:
        from ..gate.server import listen, rules_of, run
        from .api import make_app
        from .served import Served
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serve needs {error.name}, which is not installed: pip install 'apdepth-deploy[serve]'"
        ) from None
    rules = rules_of(host, name or [])
    with listen(host, port) as socket:
        served: dict[str, Served] = {}
        backends = backend or ["auto"]
        for folder, wanted in itertools.product(bundles, backends):
            predictor = load(folder, wanted, device=device, precision=precision)
            predictor.settle()
            tell(predictor, folder)
            one = Served(folder, predictor, served.keys(), several=len(backends) > 1)
            served[one.name] = one
        try:
            run(make_app(served, rules), socket, rules)
        finally:
            for one in served.values():
                one.close()
    say("stopped")
