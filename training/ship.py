"""The runs of `make weights` to the checkpoint that ships with the package.

    python -m apdepth_deploy.training.ship RUNS TARGET

RUNS holds one folder a recipe, as the recipes write them; TARGET becomes a checkpoint folder of
half the size, with the runs' records. A model card that is there stays.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from apdepth_deploy.checkpoint import save_checkpoint
from apdepth_deploy.files import atomic_folder
from apdepth_deploy.model import ApDepth

from .checkpoints import RECORD_FILE

CARD = "README.md"
#: In the order of training: the last holds the finished model.
RUNS = ("vae", "prior", "unet", "prior_2", "unet_2", "unet_3")


def ship(runs: Path, target: Path) -> None:
    """Write ``target`` from the last run's model, its weights rounded to float16.

    Raises CheckpointError, OutputError; what stood in ``target`` is then untouched.
    """
    model = ApDepth.from_checkpoint(str(runs / RUNS[-1] / "checkpoint")).half()
    with atomic_folder(target, replaces=_is_shipped) as folder:
        save_checkpoint(model, folder)
        for run in RUNS:
            shutil.copyfile(runs / run / "checkpoint" / RECORD_FILE, folder / f"{run}.json")
        if (target / CARD).exists():
            shutil.copyfile(target / CARD, folder / CARD)


def _is_shipped(folder: Path) -> bool:
    return all((folder / f"{run}.json").is_file() for run in RUNS)


if __name__ == "__main__":
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
