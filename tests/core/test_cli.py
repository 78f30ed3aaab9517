"""The command line: what it loads, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apdepth_deploy.cli import VERBS, main
from apdepth_deploy.console import table

RunScript = Callable[..., subprocess.CompletedProcess[str]]
Contents = Callable[[Path], dict[str, bytes]]

Text = pytest.CaptureFixture[str]

PROGRAM = [sys.executable, "-m", "apdepth_deploy"]
CPU_ONLY = "no CUDA here"


def program(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_help_lists_every_verb_and_loads_no_engine(run_script: RunScript) -> None:
    script = (
        "import sys; from apdepth_deploy.cli import main; code = main(['--help'])\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'diffusers', 'numpy', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)), code)"
    )
    done = run_script(script)
    assert done.stdout.endswith("[] 0\n") and done.stderr == ""
    for verb, (_, line) in VERBS.items():
        assert any(verb in row and line[:40] in row for row in done.stdout.splitlines())


def test_help_takes_half_a_second_at_most() -> None:
    """Of the processor: what else the machine does is not the program's."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert program("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) <= 0.5


def test_no_arguments_are_a_cry_for_help() -> None:
    done = program()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == program("--help").stdout
    assert "Usage: apdepth-deploy" in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: Text) -> None:
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr()
    assert f"Usage: apdepth-deploy {verb}" in said.out and said.err == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "No such command 'nope'. (see --help)"),
        (["infer"], "Missing argument"),
        (["inspect", "x", "--nope"], "No such option: --nope (see --help)"),
        (["export", "tiny", "-o", "x", "--height", "tall"], "Invalid value for '--height'"),
        (["inspect", "/nowhere"], "/nowhere is no bundle: it has no manifest.json"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(arguments: list[str], line: str, capsys: Text) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {line}") and said.err.count("\n") == 1


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_anywhere_adds_the_traceback(place: int, capsys: Text) -> None:
    arguments = ["inspect", "/nowhere"]
    arguments.insert(place, "--debug")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and "BundleError" in said
    assert said.splitlines()[-1].startswith("error: /nowhere is no bundle")


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let ``doctor`` end in an error that no input brings about."""

    def examine() -> None:
        raise error

    monkeypatch.setattr("apdepth_deploy.commands.doctor.examine", examine)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written is left behind"),
        (MemoryError(), 2, "out of memory: use a smaller frame, or one precision at a time"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            2,
            "torch is not installed: this verb needs an extra, such as "
            "pip install 'apdepth-deploy[export]'",
        ),
        (OSError(24, "Too many open files"), 2, "[Errno 24] Too many open files (--debug shows"),
        (KeyError("x"), 2, "KeyError: 'x' (a defect: run again with --debug)"),
        (EOFError(), 2, "EOFError"),
        (SystemExit(1), 1, ""),
    ],
)
def test_every_other_end_has_its_code_and_its_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str, capsys: Text
) -> None:
    failing(monkeypatch, error)
    assert main(["doctor"]) == code
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {line}" if line else "") and said.count("\n") == 0


def test_output_that_cant_be_written_is_an_error(micro_bundle: Path) -> None:
    for arguments in (("inspect", micro_bundle), ("doctor", "--json"), ("--help",)):
        with Path("/dev/full").open("w") as full:
            command = [*PROGRAM, *map(str, arguments)]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"error: [Errno 28] No space left on device")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_enough_is_no_news(micro_bundle: Path, options: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*PROGRAM, "inspect", str(micro_bundle), *options]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_name_that_is_no_utf8_can_be_said(micro_bundle: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/b\xff"
    shutil.copytree(os.fsencode(micro_bundle), name)
    done = subprocess.run([*PROGRAM, "inspect", name], capture_output=True, check=False)
    assert done.returncode == 0 and b"/b\\udcff: micro" in done.stdout


# --- stopped midway ------------------------------------------------------------------------------


def start_export(checkpoint: Path, bundle: Path) -> subprocess.Popen[str]:
    options = ("--height", "64", "--width", "64", "--no-verify", "-o", bundle)
    return subprocess.Popen(
        [*PROGRAM, "export", checkpoint, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def inherited(number: int, handler: Any) -> Iterator[None]:
    """Processes started inside get this handling of a signal: SIG_IGN, or else the default."""
    before = signal.signal(number, handler)
    yield
    signal.signal(number, before)


def test_a_stopped_export_leaves_the_old_bundle(
    tmp_path: Path, micro_bundle: Path, micro_saved: Path, contents: Contents
) -> None:
    ends = {"interrupted": (signal.SIGINT, 130), "terminated": (signal.SIGTERM, 143)}
    bundles = {word: tmp_path / word / "bundle" for word in ends}
    for bundle in bundles.values():
        shutil.copytree(micro_bundle, bundle)
    with inherited(signal.SIGINT, signal.default_int_handler):  # a background job ignores it
        started = {word: start_export(micro_saved, bundle) for word, bundle in bundles.items()}
    for word, (number, _) in ends.items():
        stderr = started[word].stderr
        assert stderr is not None
        assert any("tracing" in line for line in stderr)  # stops reading at the first
        assert len(list(bundles[word].parent.iterdir())) == 2  # the half-made one beside the old
        started[word].send_signal(number)
    for word, (_, code) in ends.items():
        process, bundle = started[word], bundles[word]
        output, rest = process.communicate(timeout=60)
        line = f"error: {word}; nothing half-written is left behind\n"
        assert (process.returncode, output, rest) == (code, "", line)
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
        assert contents(bundle) == contents(micro_bundle)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_ends_it_unless_nohup_says_otherwise(ignored: bool) -> None:
    script = (
        "import os, signal\n"
        "from apdepth_deploy import cli\n"
        "def main():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return 0\n"
        "cli.main = main\n"
        "cli.run()"
    )
    with inherited(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL):
        done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == (0 if ignored else 129)


# --- inspect -------------------------------------------------------------------------------------


def test_inspect_shows_what_the_manifest_holds(micro_bundle: Path, capsys: Text) -> None:
    assert main(["inspect", str(micro_bundle)]) == 0
    said = capsys.readouterr().out
    manifest = json.loads((micro_bundle / "manifest.json").read_text())
    assert f"{micro_bundle}: micro, conventions v1.1\n" in said
    assert "depth: float32, affine-invariant, 0 = near, 1 = far" in said
    assert "fused.fp32: image uint8[1,64,96,3] -> depth float32[1,64,96]" in said
    assert "unet.fp16: latents float32[1,8,8,12] -> depth_latent float32[1,4,8,12]" in said
    for graph in manifest["graphs"]:
        assert f"{graph['parameters']:,}" in said and str(graph["nodes"]) in said
    fused = manifest["graphs"][0]["gflop"]
    assert f"{sum(fused.values()):,.1f} (prior {fused['prior']:.1f}" in said
    for name, entry in manifest["files"].items():
        line = next(row for row in said.splitlines() if row.startswith(f"{name} "))
        assert line.split() == [name, f"{entry['size']:,}", entry["sha256"][:16]]
    assert said.count(" ok\n") == len(manifest["parity"]) == 32


def test_inspect_json_is_the_manifest(micro_bundle: Path, capsys: Text) -> None:
    assert main(["inspect", str(micro_bundle), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == json.loads((micro_bundle / "manifest.json").read_text())
    assert said.err == ""


def test_inspect_shows_ranges_random_weights_and_no_parity(
    micro_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    bundle = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["graphs"] = manifest["graphs"][:1]
    manifest["graphs"][0]["batch"] = manifest["graphs"][0]["inputs"][0]["shape"][0] = [1, 2, 4]
    manifest |= {"parity": [], "source": {"kind": "random", "name": "tiny", "seed": 0}}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert main(["inspect", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "conventions v1.1, random weights\n" in said
    assert "image uint8[1..4,64,96,3]" in said
    assert said.endswith("parity: not measured\n")


def test_a_parity_record_of_a_later_version_is_refused_in_words(
    micro_bundle: Path, tmp_path: Path, capsys: Text
) -> None:
    bundle = Path(shutil.copytree(micro_bundle, tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["parity"][0]["later"] = 1
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert main(["inspect", str(bundle)]) == 2
    assert "can't read its parity record" in capsys.readouterr().err
    assert main(["inspect", str(bundle), "--json"]) == 0


def test_a_table_lines_up() -> None:
    text = table(["name", "n"], [["a", "1,000"], ["long name", "2"]])
    assert text == "name           n\na          1,000\nlong name      2"


def test_steps_are_plain_lines_or_a_live_one(run_script: RunScript) -> None:
    script = (
        "from apdepth_deploy.console import steps\n"
        "with steps() as progress:\n"
        "    progress('one'); progress('loading /data/[red]x[/nope]')\n"
    )
    plain = run_script(script)
    assert [line[11:] for line in plain.stderr.splitlines()] == [
        "one",
        "loading /data/[red]x[/nope]",
    ]
    here, there = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", script], stderr=there, env=environment, check=True)
    os.close(there)
    with os.fdopen(here, "rb", buffering=0) as terminal:
        assert b"] loading /data/[red]x[/nope]" in terminal.read(10_000)
