from __future__ import annotations

import pytest

from apdepth_deploy.errors import UsageError
from apdepth_deploy.export import FrameShape, parse_shape


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 480, 640), "batch must be at least 1"),
        ((1, 481, 640), "height must be a multiple of 8 .* use 480"),
        ((1, 480, 644), "width must be a multiple of 8"),
        ((1, 8, 640), "at least 64"),
    ],
)
def test_a_size_that_cannot_work_is_refused_with_the_nearest_that_can(size, message):
    with pytest.raises(UsageError, match=message):
        FrameShape.fixed(*size).check(8)


def test_a_range_is_min_opt_max_on_every_axis():
    shape = FrameShape.ranged((1, 64, 64), (1, 64, 96), (2, 64, 128))
    assert [e.to_json() for e in (shape.batch, shape.height, shape.width)] == [
        [1, 1, 2],
        64,
        [64, 96, 128],
    ]
    assert not shape.is_fixed
    with pytest.raises(UsageError, match=r"width: 64\.\.640\.\.128 is not min <= opt <= max"):
        FrameShape.ranged((1, 64, 64), (1, 64, 640), (2, 64, 128))


@pytest.mark.parametrize("text", ["480x640", "1x480x640x3", "1x-480x640", "axbxc", ""])
def test_a_shape_is_three_numbers(text):
    with pytest.raises(UsageError, match="BATCHxHEIGHTxWIDTH"):
        parse_shape(text)
