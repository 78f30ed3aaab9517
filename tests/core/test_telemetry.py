"""Nobody is called: what the libraries would send, and the files they would keep, stay away."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RunScript = Callable[..., subprocess.CompletedProcess[str]]

ENGINES = """
import os, sys, threading
from apdepth_deploy.machine.telemetry import import_onnxruntime, import_openvino
openvino, onnxruntime = import_openvino(), import_onnxruntime()
assert callable(openvino.convert_model)
assert "openvino_telemetry" not in sys.modules
assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
import openvino_telemetry  # who wants it can have it
"""


def test_the_engines_start_no_thread_and_keep_no_file(
    run_script: RunScript, tmp_path: Path
) -> None:
    kept = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    gone = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    run_script(ENGINES, env=environment | kept)
    assert list(tmp_path.rglob("*")) == []


def test_the_users_own_setting_stays(run_script: RunScript) -> None:
    script = (
        "import apdepth_deploy, os\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    )
    names = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    assert run_script(script, env=environment).stdout == "1 1\n"
    environment["ORT_DISABLE_TELEMETRY"] = "0"
    assert run_script(script, env=environment).stdout == "0 1\n"


def test_huggingface_is_told_too(run_script: RunScript) -> None:
    script = (
        "import apdepth_deploy\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    environment = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k}
    assert run_script(script, env=environment).stdout == "True\n"


def test_every_import_of_an_engine_goes_through_here() -> None:
    root = Path(__file__).parents[2]
    rooms = [root / name for name in ("apdepth_deploy", "export", "runtime", "training")]
    found = [
        f"{file.name}: {line.strip()}"
        for room in rooms
        for file in room.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.split()[:1] in (["import"], ["from"])
        and line.split()[1].split(".")[0] in ("openvino", "onnxruntime")
    ]
    assert found == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_forked_process_of_a_command_ends_when_it_is_told_to(run_script: RunScript) -> None:
    """It would wait for its C call, for the command's own handler only marks the signal."""
    script = (
        "import os, signal, sys, time\n"
        "from apdepth_deploy import cli\n"
        "def main():\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)\n"
        "        time.sleep(60)\n"
        "    time.sleep(0.3)\n"
        "    os.kill(pid, signal.SIGTERM)\n"
        "    status = os.waitpid(pid, 0)[1]\n"
        "    print(os.WIFSIGNALED(status), signal.getsignal(signal.SIGTERM) == cli._terminate)\n"
        "    return 0\n"
        "cli.main = main\n"
        "cli.run()\n"
    )
    assert run_script(script).stdout == "True\nTrue True\n"
