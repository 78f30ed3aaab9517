"""What other people's tools find: Schemathesis in the API, Lighthouse in the page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def tools() -> Path:
    folder = os.environ.get("APDEPTH_BROWSER")
    if not folder:
        pytest.skip("APDEPTH_BROWSER is not set: export APDEPTH_BROWSER=$(.ci/browser)")
    return Path(folder)


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
    preset: str, server: Any, tools: Path, tmp_path: Path
) -> None:
    command = [tools / "node_modules/.bin/lighthouse", server.link, "--quiet", "--output=json"]
    command += ["--only-categories=accessibility,best-practices", "--output-path=report.json"]
    command += ["--chrome-flags=--headless=new --no-sandbox --disable-gpu --no-first-run"]
    command += ["--preset=desktop"] if preset == "desktop" else []
    environment = os.environ | {"CHROME_PATH": shutil.which("chromium") or "", "CI": "1"}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment, timeout=300)
    found = json.loads((tmp_path / "report.json").read_text())
    low = [
        (name, audit["title"])
        for name, audit in found["audits"].items()
        if audit["score"] is not None and audit["score"] < 1
    ]
    scores = {name: one["score"] for name, one in found["categories"].items()}
    assert min(scores.values()) >= 0.95, (scores, low)
