"""Nothing here asks the network unasked: libraries that would are told not to before they start.

What a user sets in the environment stays as it is.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: ONNX Runtime also keeps a data base of events in the user's cache folder.
_SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_lock = threading.Lock()


def switch_off() -> None:
    """What an environment variable can: read by the libraries when they are imported."""
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)


def import_onnxruntime() -> Any:
    """``onnxruntime``. Raises ModuleNotFoundError."""
    module = importlib.import_module("onnxruntime")
    module.disable_telemetry_events()  # on Windows no variable does
    return module


def import_openvino() -> Any:
    """``openvino``, which takes a stand-in of its own where ``openvino_telemetry`` is missing.

    With that package the import alone starts a thread that forks a process and writes ``~/intel``.
    Raises ModuleNotFoundError.
    """
    with _lock, _missing("openvino_telemetry"):
        return importlib.import_module("openvino")


@contextmanager
def _missing(module: str) -> Iterator[None]:
    """As if it were not installed."""
    before = sys.modules.get(module)
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
        if before is not None:
            sys.modules[module] = before
