"""The paper's ablation on rendered scenes: no prior or a prior, one stage or two.

    python benchmarks/ablation.py [--steps 400]

Needs what `make weights` leaves in out/: scenes, VAE, prior and latents. Every row is the recipe
`tiny_unet` but for what its name says and the number of steps: the same seed, frames and order. It
is scored on the held-out scenes. The second stage takes the last quarter of the steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from measuring import save_results

from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.measure.machine import machine_facts, versions
from apdepth_deploy.training.config import TrainConfig, read_config
from apdepth_deploy.training.loop import train

RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "tiny_unet.toml"
#: Row -> (has a prior, frequency_mode of the second stage; None = there is none).
ROWS = {
    "no prior, MSE alone": (False, None),
    "prior, MSE alone": (True, None),
    "prior, then frequency alone": (True, "switch"),
    "prior, then MSE + frequency": (True, "add"),
}
METRICS = ("abs_rel", "delta1", "boundary_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("out/ablation"))
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        train(configuration(arguments.row, arguments.steps, arguments.output), print)
        return
    rows = {name: measure(name, arguments.steps, arguments.output) for name in ROWS}
    cells = [
        [name, *(f"{found[metric]:.4f}" for metric in METRICS)] for name, found in rows.items()
    ]
    print(table(["U-Net", "AbsRel", "delta1", "boundary F1"], cells))
    found = {
        "machine": machine_facts(),
        "versions": versions(),
        "steps": arguments.steps,
        "rows": rows,
    }
    save_results("ablation.json", found)


def measure(name: str, steps: int, output: Path) -> dict[str, float]:
    """Train one row, or go on with it, and score it on the held-out frames."""
    config = configuration(name, steps, output)
    command(__file__, "--row", name, "--steps", str(steps), "--output", str(output))
    checkpoint, results = Path(config.output) / "checkpoint", Path(config.output) / "evaluation"
    scenes = config.data.train[0].path
    words = ("evaluate", str(checkpoint), scenes, "--set", "synthetic", "-o", str(results))
    command("-m", "apdepth_deploy", *words)
    found = json.loads((results / "results.json").read_text())
    return {metric: found[metric] for metric in METRICS} | {"test_frames": found["frames"]}


def configuration(name: str, steps: int, output: Path) -> TrainConfig:
    """The recipe with what a row changes."""
    has_prior, mode = ROWS[name]
    recipe = read_config(RECIPE)
    folder = output / f"row{list(ROWS).index(name)}"
    model, latents = recipe.model, recipe.data.latents
    if not has_prior:
        model, latents = dataclasses.replace(model, prior="none"), str(output / "latents")
    return dataclasses.replace(
        recipe,
        output=str(folder),
        model=model,
        data=dataclasses.replace(recipe.data, latents=latents),
        loss=dataclasses.replace(
            recipe.loss,
            frequency_start=steps if mode is None else steps - steps // 4,
            frequency_mode=mode or "switch",
        ),
        run=dataclasses.replace(recipe.run, steps=steps, validate_every=0),
    )


def command(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
