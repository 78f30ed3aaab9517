"""What an evaluation has found so far, on disk: so that it goes on, and never with another's."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apdepth_deploy.errors import UsageError
from apdepth_deploy.files import atomic_file, output_errors

from ..data.sample import Sample

FRAMES_FILE = "frames.jsonl"
Record = dict[str, Any]


def digest(sample: Sample) -> str:
    """SHA-256 of a sample's name and pixels: with model and rules, all that its score follows from.

    Whatever changes a sample changes it: its files, the list, the depth's scale, a crop, a mask.
    """
    found = hashlib.sha256(f"{sample.name} {sample.depth.shape}".encode(errors="surrogateescape"))
    for array in (sample.image, sample.depth, sample.valid):
        found.update(array.tobytes())
    return found.hexdigest()


class Frames:
    """``frames.jsonl``: a line saying of what the results are, then one for each frame.

    A frame that couldn't be evaluated has none: it is tried again.

    Attributes:
        done: the records by ``digest``, which each holds as "sample".

    Raises UsageError where the file holds results of something else, OutputError.
    """

    def __init__(self, output: Path, identity: Record) -> None:
        self.path = output / FRAMES_FILE
        self.identity = identity
        self.done = {record["sample"]: record for record in self._read()}
        self._write(list(self.done.values()))

    def add(self, record: Record) -> None:
        """Keep a frame's result, at once."""
        self.done[record["sample"]] = record
        with output_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def close(self, records: Sequence[Record], whole: bool) -> None:
        """Leave these in the file, in their order.

        Args:
            whole: they are the whole set; else those of other frames stay, too.
        """
        names = {record["name"] for record in records}
        others = [] if whole else [one for one in self.done.values() if one["name"] not in names]
        self._write([*records, *others])

    def _read(self) -> list[Record]:
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        first, *lines = [_parsed(line) for line in text.splitlines()] or [{}]
        records = [line for line in lines if line and "error" not in line]
        if records and first != self.identity:
            raise UsageError(
                f"{self.path} holds the results of another model or set, or of another version: "
                "choose another -o"
            )
        return records

    def _write(self, records: Sequence[Record]) -> None:
        with atomic_file(self.path) as path:
            lines = [_line(record) for record in (self.identity, *records)]
            path.write_text("".join(lines), encoding="utf-8")


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"


def _parsed(line: str) -> Record:
    """A line's record; an empty one where a killed run left half a line."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
