"""The paper's ablation on rendered scenes: no prior or a prior, one stage or two.

    python benchmarks/ablation.py [--steps 800] [--runs out/tiny] [--scenes out/synthetic]

Needs the VAE and the prior that `make weights` trains. Every row trains the `tiny` U-Net from the
same seed, on the same frames in the same order, and is scored on the held-out split. Frozen
networks run once a frame (``data.latents``: those of `make weights`, where there is a prior), so
there is flipping and no other augmentation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from measuring import RESULTS

from apdepth_deploy.console import table
from apdepth_deploy.runtime.profiling.machine import machine_facts, versions

CONFIG = """
output = "{output}"
[model]
preset = "tiny"
prior = "{prior}"
vae = "{runs}/vae/checkpoint/vae"
[data]
height = 192
width = 256
workers = 1
latents = "{latents}"
[[data.train]]
kind = "synthetic"
path = "{scenes}"
frames = {frames}
far_is_valid = true
[loss]
{loss}
[optimizer]
lr = 5e-4
warmup = 100
batch = 8
micro_batch = 8
max_grad_norm = 1.0
ema = 0.99
[run]
precision = "bf16"
steps = {steps}
validate_every = 0
"""

#: Row -> (has a prior, its [loss] table); the second stage takes the paper's share, 1 step of 25.
ROWS = {
    "no prior, MSE alone": (False, "frequency_start = {never}"),
    "prior, MSE alone": (True, "frequency_start = {never}"),
    "prior, then frequency alone": (True, "frequency_start = {second}"),
    "prior, then MSE + frequency": (
        True,
        'frequency_start = {second}\nfrequency_mode = "add"',
    ),
}
METRICS = ("abs_rel", "delta1", "boundary_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--frames", type=int, default=2400)
    parser.add_argument("--runs", type=Path, default=Path("out/tiny"))
    parser.add_argument("--scenes", type=Path, default=Path("out/synthetic"))
    parser.add_argument("--output", type=Path, default=Path("out/ablation"))
    arguments = parser.parse_args()
    rows = {name: measure(number, name, arguments) for number, name in enumerate(ROWS)}
    cells = [
        [name, *(f"{found[metric]:.4f}" for metric in METRICS)] for name, found in rows.items()
    ]
    print(table(["U-Net", "AbsRel", "delta1", "boundary F1"], cells))
    found = {
        "machine": machine_facts(),
        "versions": versions(),
        "steps": arguments.steps,
        "frames": arguments.frames,
        "rows": rows,
    }
    path = RESULTS / "ablation.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(f"wrote {path}")


def measure(number: int, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Train one row, or go on with it, and score it on the held-out frames."""
    folder = arguments.output / f"row{number}"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    config.write_text(configuration(name, folder, arguments))
    command("train", str(config))
    checkpoint, results = folder / "run" / "checkpoint", folder / "evaluation"
    command(
        "evaluate", str(checkpoint), str(arguments.scenes), "--set", "synthetic", "-o", str(results)
    )
    found = json.loads((results / "results.json").read_text())
    return {metric: found[metric] for metric in METRICS} | {"test_frames": found["frames"]}


def configuration(name: str, folder: Path, arguments: argparse.Namespace) -> str:
    """A row's TOML file."""
    has_prior, loss = ROWS[name]
    steps = arguments.steps
    return CONFIG.format(
        output=folder / "run",
        prior=arguments.runs / "prior/checkpoint/prior" if has_prior else "none",
        runs=arguments.runs,
        latents=arguments.runs / "latents" if has_prior else arguments.output / "latents",
        scenes=arguments.scenes,
        frames=arguments.frames,
        loss=loss.format(never=steps, second=steps - steps // 25),
        steps=steps,
    )


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "apdepth_deploy", *words], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
