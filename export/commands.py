"""``apdepth-deploy export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apdepth_deploy.commands.inspect import engines_table
from apdepth_deploy.commands.verify import parity_table
from apdepth_deploy.console import steps
from apdepth_deploy.errors import UsageError
from apdepth_deploy.spec import PRESETS, TAESD, ModelSource, default_size
from apdepth_deploy.verify import records_of

from .shapes import FrameShape, parse_shape

app = typer.Typer(add_completion=False)

_PRESETS = ", ".join(PRESETS)
_GRAPHS = ["fused"]
_PRECISIONS = ["fp16"]


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            help=f"Checkpoint folder, hub id, or with --random-weights a preset: {_PRESETS}."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle.")],
    graph: Annotated[list[str], typer.Option(help="fused, staged; repeat for both.")] = _GRAPHS,
    precision: Annotated[
        list[str], typer.Option(help="fp32, fp16, bf16; repeat for several.")
    ] = _PRECISIONS,
    height: Annotated[
        int | None,
        typer.Option(
            help="Frame height, a multiple of 8; by default the largest that the checkpoint says "
            "it was trained at, or 480."
        ),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Frame width likewise, or 640.")] = None,
    batch: Annotated[int, typer.Option(help="Frames per call.")] = 1,
    opset: Annotated[int, typer.Option(help="ONNX opset, 18 to 23.")] = 21,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Take a range of sizes: give --min and --max.")
    ] = False,
    smallest: Annotated[
        str | None, typer.Option("--min", help="BATCHxHEIGHTxWIDTH, with --dynamic.")
    ] = None,
    opt: Annotated[
        str | None, typer.Option("--opt", help="What to tune for; default --batch/height/width.")
    ] = None,
    largest: Annotated[
        str | None, typer.Option("--max", help="BATCHxHEIGHTxWIDTH, with --dynamic.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Prior: transformers folder, hub id, depth_anything_v2_vit*.pth, none."),
    ] = None,
    unet: Annotated[
        str | None, typer.Option(help="A unet/ folder to put over the checkpoint's.")
    ] = None,
    vae: Annotated[
        str | None,
        typer.Option(
            help="A vae/ folder or hub id to put over the checkpoint's, such as "
            f"madebyollin/taesd; with --random-weights: {TAESD}."
        ),
    ] = None,
    vae_side: Annotated[
        str, typer.Option(help="What --vae does: both, or only as encoder or decoder.")
    ] = "both",
    prior_side: Annotated[
        str | None,
        typer.Option(
            help="The prior's input size: pixels of its shorter side (Depth Anything's own: 518), "
            "or frame: the frame's, to whole patches."
        ),
    ] = None,
    conventions: Annotated[
        str | None, typer.Option(help="v1.1 (the authors'), normalized.")
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license", help="Of the weights, for the manifest; default: what their card says."
        ),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub repository.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Draw a preset's weights: size and speed only.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of --random-weights.")] = 0,
    no_fold: Annotated[
        bool, typer.Option("--no-fold", help="Keep what is constant in the graphs, to compare.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Skip the comparison with PyTorch.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="Also build engines, as `build` does: tensorrt-rtx, tensorrt."),
    ] = None,
    gpu: Annotated[
        list[str] | None, typer.Option(help="GPU to build engines for; see `build`.")
    ] = None,
) -> None:
    """Turn a checkpoint into a bundle of ONNX graphs, and prove each equal to PyTorch."""
    if random_weights and source not in PRESETS:
        raise UsageError(f"--random-weights needs a preset ({_PRESETS}), not {source!r}")
    model = ModelSource(
        source,
        seed=seed if random_weights else None,
        prior=prior,
        conventions=conventions,
        unet=unet,
        vae=vae,
        vae_side=vae_side,
        prior_side=prior_side,
        revision=revision,
    )
    ranges = _ranges(dynamic, smallest, opt, largest)
    if gpu and target is None:
        raise UsageError("--gpu needs --target")
    with steps() as progress:
        progress("starting PyTorch")
        shape = _shape(model, (batch, height, width), ranges)
        from .bundle_export import export_bundle
        from .engine_build import build_engines, prepare_target

        if target is not None:
            prepare_target(target, gpu or ())  # before the work: what can't be built would waste it

        bundle = export_bundle(
            model,
            output,
            kinds=graph,
            precisions=precision,
            shape=shape,
            opset=opset,
            folding=not no_fold,
            verify=not no_verify,
            license=license_,
            progress=progress,
        )
        engines = build_engines(output, target, gpu or (), progress=progress) if target else []
    if not no_verify:
        print(parity_table(records_of(bundle.manifest)))
    if engines:
        print(engines_table(engines))
    print(f"wrote {bundle.folder}")


#: Smallest, tuned for (None = the frame's own), largest (batch, height, width).
_Ranges = tuple[tuple[int, int, int], tuple[int, int, int] | None, tuple[int, int, int]]


def _ranges(
    dynamic: bool, smallest: str | None, opt: str | None, largest: str | None
) -> _Ranges | None:
    if not dynamic:
        if smallest or opt or largest:
            raise UsageError("--min, --opt and --max need --dynamic")
        return None
    if not (smallest and largest):
        raise UsageError("--dynamic needs --min and --max, such as --min 1x240x320 --max 4x480x640")
    return parse_shape(smallest), parse_shape(opt) if opt else None, parse_shape(largest)


def _shape(
    model: ModelSource, size: tuple[int, int | None, int | None], ranges: _Ranges | None
) -> FrameShape:
    """What was asked for; a side that wasn't is that of the checkpoint's default size."""
    from apdepth_deploy.model.loading import trained_at

    opt = None if ranges is None else ranges[1]
    if opt is None:
        batch, height, width = size
        known = default_size(trained_at(model) if None in size else ())
        opt = batch, known[0] if height is None else height, known[1] if width is None else width
    return (
        FrameShape.fixed(*opt) if ranges is None else FrameShape.ranged(ranges[0], opt, ranges[2])
    )
