"""``apdepth-deploy evaluate``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from apdepth_deploy.console import steps, table
from apdepth_deploy.errors import UsageError
from apdepth_deploy.spec import ModelSource

from ..data.eval_sets import EVAL_SETS, open_eval_set
from ..data.paths import is_rendered, read_paths
from .models import Model, is_bundle, open_bundle, open_checkpoint
from .run import evaluate
from .sequence import HELD, KINDS, evaluate_paths

app = typer.Typer(add_completion=False)


@app.command("evaluate")
def command(
    model: Annotated[str, typer.Argument(help="Bundle folder, checkpoint folder or hub id.")],
    data: Annotated[Path, typer.Argument(help="Folder or tar file of the set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the results.")],
    set_: Annotated[str, typer.Option("--set", help=", ".join(EVAL_SETS))] = "rgbd",
    list_: Annotated[Path | None, typer.Option("--list", help="File of `rgb depth` lines.")] = None,
    depth_scale: Annotated[float, typer.Option(help="For rgbd: stored units per metre.")] = 1000.0,
    backend: Annotated[str, typer.Option(help="For a bundle: as for `infer`.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="For a bundle: as for `infer`.")] = None,
    height: Annotated[
        int | None, typer.Option(help="For a checkpoint: frame height; default the picture's.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="For a checkpoint: frame width.")] = None,
    prior: Annotated[str | None, typer.Option(help="For a checkpoint: as for `export`.")] = None,
    unet: Annotated[str | None, typer.Option(help="For a checkpoint: as for `export`.")] = None,
    conventions: Annotated[
        str | None, typer.Option(help="For a checkpoint: as for `export`.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many frames.")] = None,
    grid: Annotated[int, typer.Option(help="Frames in the picture grid.")] = 6,
    workers: Annotated[int, typer.Option(help="Threads that read ahead.")] = 2,
    bad_samples: Annotated[int, typer.Option(help="Bad samples to step over by name.")] = 10,
    sequence: Annotated[
        bool,
        typer.Option(
            help="DATA is of `synthesize --path`, or a folder of a video's frames: flicker, raw "
            "and stabilised."
        ),
    ] = False,
    anchors: Annotated[
        str | None,
        typer.Option(help="Metres from so many drawn anchors, such as 32,128,512,rings."),
    ] = None,
    anchor_noise: Annotated[float, typer.Option(help="Of the distance.")] = 0.02,
    anchor_outliers: Annotated[float, typer.Option(help="Share of anchors at random.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure depth against the truth: AbsRel and delta1 after alignment, as the paper does.

    Run again, it goes on where it stopped. With --sequence flicker along camera paths; with
    --anchors metres as a robot gets them, from a few known distances.
    """
    source = ModelSource(model, prior=prior, unet=unet, conventions=conventions)
    if anchors is not None and sequence:
        raise UsageError("--anchors or --sequence: they are two evaluations")
    if sequence:
        if list_ is not None or limit is not None:
            raise UsageError("--sequence takes all frames of DATA: no --list, no --limit")
        evaluation, told = _of_sequence(data, output)
    elif anchors is not None:
        from .anchored import Drawing, evaluate_anchored

        drawing = Drawing(tuple(anchors.split(",")), anchor_noise, anchor_outliers)
        rules = open_eval_set(set_, data, list_, depth_scale)
        evaluation = partial(
            evaluate_anchored, rules=rules, output=output, drawing=drawing, limit=limit
        )
        told = anchored_table
    else:
        evaluation = partial(
            evaluate,
            rules=open_eval_set(set_, data, list_, depth_scale),
            output=output,
            limit=limit,
            grid=grid,
            workers=workers,
            bad_samples=bad_samples,
        )
        told = results_table
    with steps() as progress:
        opened = _open(source, backend, precision, height, width)
        progress(opened.label)
        results = evaluation(opened, progress=progress)
    print(json.dumps(results, indent=1) if as_json else told(results))


def _of_sequence(
    data: Path, output: Path
) -> tuple[Callable[..., dict[str, Any]], Callable[[dict[str, Any]], str]]:
    """The evaluation of rendered paths or of a folder of frames, and its table."""
    if is_rendered(data):
        return partial(evaluate_paths, paths=read_paths(data), output=output), paths_table
    from .still import evaluate_frames, find_frames

    return partial(evaluate_frames, frames=find_frames(data), output=output), frames_table


def _open(
    source: ModelSource,
    backend: str,
    precision: str | None,
    height: int | None,
    width: int | None,
) -> Model:
    if (height is None) != (width is None):
        raise UsageError("--height and --width go together")
    size = None if height is None or width is None else (height, width)
    if is_bundle(source.name):
        if size or source.prior or source.unet or source.conventions:
            raise UsageError(
                "--height, --width, --prior, --unet and --conventions are for checkpoints: a "
                "bundle has its own"
            )
        return open_bundle(Path(source.name), backend, precision)
    if backend != "auto" or precision is not None:
        raise UsageError(
            "--backend and --precision are for bundles: a checkpoint runs in PyTorch, in fp32"
        )
    return open_checkpoint(source, size)


def results_table(results: dict[str, Any]) -> str:
    """One set's results, for people."""
    headers = ["set", "frames", "skipped", "AbsRel", "delta1", "boundary F1", "AbsRel of a plane"]
    numbers = [results[key] for key in ("abs_rel", "delta1", "boundary_f1", "plane_abs_rel")]
    counts = [str(results["frames"]), str(len(results["skipped"]))]
    return table(headers, [[results["set"], *counts, *(f"{number:.4f}" for number in numbers)]])


def anchored_table(results: dict[str, Any]) -> str:
    """AbsRel of metres by the number of anchors, for people."""
    headers = ["anchors", "scale and shift", "with the field", "without a model", "known"]
    rows = []
    for count, one in results["anchors"].items():
        numbers = [f"{one[way]:.4f}" for way in ("line", "field", "interpolated")]
        rows.append([count, *numbers, f"{one['known']:.0%}"])
    return table(headers, rows)


def frames_table(results: dict[str, Any]) -> str:
    """A real sequence's flicker, for people: raw -> stabilised."""
    flicker = " -> ".join(f"{results['flicker'][kind]:.4f}" for kind in KINDS)
    cells = [str(results["frames"]), f"{results['still']:.0%}", flicker]
    return table(
        ["frames", "still", "flicker there", "ratio"],
        [[*cells, f"{results['flicker_ratio']:.2f}"]],
    )


def paths_table(results: dict[str, Any]) -> str:
    """Camera paths' results, for people: raw -> stabilised."""
    headers = ["path", "kind", "frames", "flicker", "ratio", "moved"]
    headers += [f"AbsRel, fit {name.replace('_', ' ')}" for name in HELD]
    rows = []
    mean = {**results, "path": "mean", "kind": "", "ratio": results["flicker_ratio"]}
    for record in (*results["paths"], mean):
        raw, stable = (record["flicker"][kind] for kind in KINDS)
        cells = [f"{raw:.4f} -> {stable:.4f}", f"{record.get('ratio', stable / raw):.2f}"]
        for number in ("moved", *(f"abs_rel_{name}" for name in HELD)):
            cells.append(" -> ".join(f"{record[number][kind]:.4f}" for kind in KINDS))
        rows.append([record["path"], record["kind"], str(record["frames"]), *cells])
    return table(headers, rows)
