"""Bad samples: said once, counted once, replaced by the next good one, limited."""

from __future__ import annotations

import pytest

from apdepth_deploy.errors import DataError, TrainingError
from apdepth_deploy.training.data.skipping import BadSamples


def read(index: int) -> int:
    if index in (2, 3):
        raise DataError(f"sample {index} is torn")
    return index


def test_the_next_good_one_takes_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    bad = BadSamples(limit=2)
    assert [bad.first_good("set", i, 5, read) for i in range(5)] == [0, 1, 4, 4, 4]
    assert bad.first_good("set", 2, 5, read) == 4
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "skipped a bad sample (1): sample 2 is torn",
        "skipped a bad sample (2): sample 3 is torn",
    ]


def test_one_too_many_stops() -> None:
    with pytest.raises(TrainingError, match=r"more than 1 samples are missing or damaged.*torn"):
        BadSamples(limit=1).first_good("set", 2, 5, read)


def test_a_set_without_a_good_sample_stops() -> None:
    def never(index: int) -> int:
        raise DataError(f"{index} is gone")

    with pytest.raises(TrainingError, match="not one of its 3 samples"):
        BadSamples(limit=9).first_good("set", 0, 3, never)
