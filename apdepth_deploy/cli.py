"""``apdepth-deploy VERB``: joins the rooms and loads each only when its verb is used."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from apdepth_deploy.console import open_streams, say
from apdepth_deploy.errors import ApDepthError

#: Verb -> (module with a typer ``app`` of that one command, line in the help).
VERBS: dict[str, tuple[str, str]] = {
    "export": ("apdepth_deploy.export.commands", "Turn a checkpoint into a bundle of ONNX graphs."),
    "build": (
        "apdepth_deploy.export.build_command",
        "Build TensorRT engines from a bundle's graphs, with or without a GPU.",
    ),
    "verify": ("apdepth_deploy.commands.verify", "Compare every graph of a bundle with PyTorch."),
    "infer": ("apdepth_deploy.runtime.infer.command", "Depth from pictures."),
    "points": ("apdepth_deploy.runtime.points.command", "Points in space from pictures."),
    "live": ("apdepth_deploy.runtime.live.command", "Depth of a camera or a stream, as it comes."),
    "ros": ("apdepth_deploy.runtime.ros.command", "Depth of a camera's images, as a ROS 2 node."),
    "profile": (
        "apdepth_deploy.runtime.profiling.command",
        "Measure latency, stages, layers, memory and the roofline.",
    ),
    "serve": ("apdepth_deploy.runtime.serve.command", "Depth over HTTP, and a page to try it."),
    "web": (
        "apdepth_deploy.runtime.web.command",
        "Write a static page that runs the graph in the browser.",
    ),
    "triton": (
        "apdepth_deploy.runtime.triton.command",
        "Write a model repository for NVIDIA Triton Inference Server.",
    ),
    "inspect": ("apdepth_deploy.commands.inspect", "Show what is in a bundle."),
    "data": (
        "apdepth_deploy.training.data.command",
        "Bring data sets into the layout that training reads.",
    ),
    "synthesize": (
        "apdepth_deploy.training.synthesis.command",
        "Render scenes with exact depth to train on.",
    ),
    "train": ("apdepth_deploy.training.command", "Train a U-Net, a prior or a VAE."),
    "evaluate": (
        "apdepth_deploy.training.evaluation.command",
        "Measure depth against the truth on a data set.",
    ),
    "doctor": ("apdepth_deploy.commands.doctor", "Show what this machine can run, and what lacks."),
}

_INTERRUPTED = 130
#: What asks the program to end.
_SIGNALS = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}


class LazyGroup(TyperGroup):
    """A group whose verbs are imported on use, and not to list them."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module, help_line = VERBS[cmd_name]
        if self._listing:
            return _placeholder(cmd_name, help_line)
        command = typer.main.get_command(importlib.import_module(module).app)
        command.name = cmd_name
        return command


def _placeholder(name: str, help_line: str) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, help=help_line)(lambda: None)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Diffusion depth on a robot: checkpoint -> ONNX graphs -> engines -> depth. "
    "Add --debug to any command for the full traceback of an error.",
)


@app.callback()
def _root() -> None:
    """The group needs a callback to be a group."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 a check failed, 2 wrong use or input.

    130 is the shell's code for an interrupt. Errors go to stderr. Without arguments, the help.
    """
    open_streams()
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        result = app(arguments or ["--help"], prog_name="apdepth-deploy", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - whatever it is, a user gets a line and a code
        if debug and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        return _report(error)
    if result == _INTERRUPTED:  # typer's answer to KeyboardInterrupt
        return _report(KeyboardInterrupt())
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    """Say what happened in a line on stderr; returns the exit code."""
    if isinstance(error, typer.Abort):  # how some versions of typer wrap an interrupt
        error = error.__cause__ or KeyboardInterrupt()
    if isinstance(error, Terminated):
        return _fail("terminated; nothing half-written is left behind", error.code)
    if isinstance(error, SystemExit):
        return int(error.code or 0)
    if isinstance(error, KeyboardInterrupt):
        return _fail("interrupted; nothing half-written is left behind", _INTERRUPTED)
    if isinstance(error, ApDepthError):
        return _fail(str(error), error.exit_code)
    if hasattr(error, "format_message"):  # typer's own errors: wrong options and arguments
        return _fail(f"{error.format_message()} (see --help)", 2)
    if isinstance(error, ModuleNotFoundError):
        return _fail(
            f"{error.name} is not installed: this verb needs an extra, such as "
            "pip install 'apdepth-deploy[export]'",
            2,
        )
    if isinstance(error, MemoryError):
        return _fail("out of memory: use a smaller frame, or one precision at a time", 2)
    text = " ".join(str(error).split())[:300]
    if isinstance(error, BrokenPipeError):  # `| head` has read enough: no news to anybody
        return 1
    if isinstance(error, OSError):
        return _fail(f"{text} (--debug shows where)", 2)
    return _fail(f"{type(error).__name__}: {text} (a defect: run again with --debug)", 2)


def _fail(message: str, code: int) -> int:
    say(f"error: {message}")
    return code


class Terminated(SystemExit):
    """A signal asked the program to end: the stack unwinds, so that temporary files go."""

    code: int


def _terminate(signum: int, frame: object) -> None:
    raise Terminated(128 + signum)


def _forget_signals() -> None:
    """A forked process that only computes would not end before its C call does."""
    for number in _SIGNALS:
        if signal.getsignal(number) == _terminate:
            signal.signal(number, signal.SIG_DFL)


def run() -> None:
    """The console script. A termination or a closed terminal ends it as cleanly as an interrupt."""
    for number in _SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup's SIG_IGN stays
            signal.signal(number, _terminate)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_signals)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
