"""``python -m apdepth_deploy``."""

from apdepth_deploy.cli import run

run()
