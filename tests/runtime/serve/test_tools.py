"""What other people's tools find: Schemathesis in the API, Lighthouse in the page."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_schemathesis_finds_no_fault(server: Any, tools: Path, tmp_path: Path) -> None:
    command = [tools / "bin/schemathesis", "run", server.link + "openapi.json"]
    # No schema can say of bytes that they are a picture.
    command += ["--exclude-checks=positive_data_acceptance", "--max-examples=100", "--seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout[-8000:]
    assert server.ask("/healthz").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["phone", "desktop"])
def test_lighthouse_finds_the_page_accessible(
    preset: str, server: Any, lighthouse: Callable[[str, str], None]
) -> None:
    lighthouse(server.link, preset)
