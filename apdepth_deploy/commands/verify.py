"""``apdepth-deploy verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.bundle import Bundle, to_json
from apdepth_deploy.console import steps, table
from apdepth_deploy.errors import UsageError
from apdepth_deploy.verify import Record, raise_on_miss, reference_results, verify_bundle

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Weights to compare with, where not those named in the manifest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compare every graph with the PyTorch model, stage by stage, and record it in the manifest."""
    opened = Bundle.open(bundle)
    for name in opened.manifest["files"]:
        opened.check_hash(name)
    source = opened.source(checkpoint)
    with steps() as progress:
        progress(f"loading {source.label}")
        from apdepth_deploy.model.loading import load_model

        model = load_model(source)
        if (model.spec.prior is None) != (opened.spec.prior is None):
            raise UsageError(f"{source.name} is not the model of {bundle}: one has no prior")
        progress("running the PyTorch model on the sample frames")
        reference = reference_results(model, opened.frame_shape, *opened.frame_ends)
        del model
        records = verify_bundle(opened, reference, progress)
    print(to_json(opened.manifest["parity"]) if as_json else parity_table(records))
    raise_on_miss(records)


def parity_table(records: list[Record]) -> str:
    """The record as text."""
    headers = ["graph", "frame", "stage", "max abs", "mean abs", "PSNR dB", "NaN/Inf", ""]
    rows = [
        [
            f"{r.graph}.{r.precision}",
            r.frame,
            r.stage,
            _number(r.max_abs, ".1e"),
            _number(r.mean_abs, ".1e"),
            "equal" if r.max_abs == 0.0 and not r.bad else _number(r.psnr, ".1f"),
            str(r.bad),
            "ok" if r.passed else "STRAYS",
        ]
        for r in records
    ]
    return table(headers, rows)


def _number(value: float | None, form: str) -> str:
    """None where there is none: no range to relate to, nothing finite to measure."""
    return format(value, form) if value is not None else "-"
