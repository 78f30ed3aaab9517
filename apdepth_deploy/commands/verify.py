"""``apdepth-deploy verify``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from apdepth_deploy.bundle import Bundle, to_json
from apdepth_deploy.console import steps, table
from apdepth_deploy.errors import UsageError
from apdepth_deploy.verify import (
    Record,
    raise_on_miss,
    reference_results,
    verify_backend,
    verify_bundle,
)
from apdepth_deploy.verify_layers import bisect_backend, describe, raise_on_departure

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder that export wrote.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Weights to compare with, where not those named in the manifest."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Judge tensorrt-rtx, tensorrt, openvino or onnxruntime on this machine by the "
            "golden frames in the bundle, without torch."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="For --backend: auto, cpu, cuda, cuda:1, ...")
    ] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="For --backend: fp32, fp16, bf16; default: all.")
    ] = None,
    graph: Annotated[
        str | None, typer.Option(help="For --backend: fused or staged; default: both.")
    ] = None,
    bisect: Annotated[
        bool,
        typer.Option(
            "--bisect",
            help="With --backend: compare layer by layer with Polygraphy, and name the first node "
            "that departs.",
        ),
    ] = False,
    reduce: Annotated[
        bool,
        typer.Option("--reduce", help="With --bisect: leave the smallest graph that departs."),
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="For --bisect: folder of what shows it.")
    ] = Path("bisect"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compare every graph with PyTorch, stage by stage, and record it in the manifest.

    With --backend: what an engine computes on this machine with what PyTorch computed at export;
    the verdict is kept for infer and doctor. With --bisect: where it goes wrong.
    """
    opened = Bundle.open(bundle)
    if backend is not None:
        if checkpoint is not None:
            raise UsageError("--checkpoint is for the comparison with PyTorch: drop --backend")
        if reduce and not bisect:
            raise UsageError("--reduce is for what --bisect finds: add --bisect")
        into = output if bisect else None
        _judge(opened, backend, _Asked(device, precision, graph), into, reduce, as_json)
        return
    if (device, precision, graph, bisect, reduce) != ("auto", None, None, False, False):
        raise UsageError(
            "--device, --precision, --graph, --bisect and --reduce are for --backend: name one"
        )
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


class _Asked(NamedTuple):
    device: str
    precision: str | None
    graph: str | None


def _judge(
    bundle: Bundle, backend: str, asked: _Asked, into: Path | None, reduce: bool, as_json: bool
) -> None:
    """``into``: where what --bisect finds goes, or None."""
    with steps() as progress:
        judged = verify_backend(
            bundle, backend, asked.device, asked.precision, progress, asked.graph
        )
        findings = []
        if into is not None:
            findings = bisect_backend(bundle, judged, asked.device, into, reduce, progress)
    records = [record for _, found in judged for record in found]
    if as_json:
        verdicts = [dataclasses.asdict(verdict) for verdict, _ in judged]
        said = {"verdicts": verdicts, "records": list(map(dataclasses.asdict, records))}
        if into is not None:
            said["bisected"] = list(map(dataclasses.asdict, findings))
        print(to_json(said))
    else:
        print(parity_table(records))
        if findings:
            print(describe(findings, not all(record.passed for record in records)))
    raise_on_departure(findings)
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
