"""``accelerate launch -m apdepth_deploy.training CONFIG``: the verb `train`, in each process."""

import sys

from apdepth_deploy.cli import run

sys.argv[1:1] = ["train"]
run()
