"""``benchmarks/serve.py`` in short: many clients, garbage, large bodies, strays."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "serve.py"


@pytest.fixture(scope="module")
def benchmark() -> SimpleNamespace:
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run
    try:
        return SimpleNamespace(**runpy.run_path(str(SCRIPT)))
    finally:
        sys.path.remove(str(SCRIPT.parent))


def test_many_clients_get_depth_or_are_told_when_to_come_again(
    server: Any, benchmark: SimpleNamespace
) -> None:
    found = benchmark.load(server.port, clients=32, seconds=3)
    assert found["holds"], found
    assert set(found["statuses"]) == {200, 503}


def test_garbage_is_refused_and_costs_nobody_else_anything(
    server: Any, benchmark: SimpleNamespace
) -> None:
    found = benchmark.garbage(server.port, 300)
    assert found["holds"], found
    assert found["statuses"][422] > 200


def test_large_bodies_are_refused_unread(server: Any, benchmark: SimpleNamespace) -> None:
    found = benchmark.large(server.port, 256 << 20)
    assert found["holds"], found


def test_strays_are_refused(server: Any, benchmark: SimpleNamespace) -> None:
    found = benchmark.strays(server.port)
    assert found["holds"], found
