from __future__ import annotations

import pytest

from apdepth_deploy.errors import ExportError, UsageError
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
        FrameShape.fixed(*size).check(8, 64)


@pytest.mark.parametrize("stride", [8, 16])
def test_a_side_that_ranges_has_two_places_on_the_unets_lowest_level(stride):
    coarsest = 8 * stride
    start = coarsest + stride
    FrameShape.ranged((1, start, start), (1, 256, 256), (2, 512, 512)).check(stride, coarsest)
    for height, width in ((coarsest, start), (start, coarsest)):
        shape = FrameShape.ranged((1, height, width), (1, 256, 256), (1, 512, 512))
        with pytest.raises(ExportError, match=f"a range has to start at {start} or above, not at"):
            shape.check(stride, coarsest)
    # One size may be the smallest there is, beside a range of the other side or of the batch.
    FrameShape.ranged((1, coarsest, start), (1, coarsest, 256), (1, coarsest, 512)).check(
        stride, coarsest
    )
    FrameShape.ranged((1, coarsest, coarsest), (2, coarsest, coarsest), (4, coarsest, coarsest))


@pytest.mark.parametrize(
    "size", [(1, 2**31, 64), (2**63, 64, 64), (1, 32768, 32768), (2048, 640, 640)]
)
def test_frames_beyond_what_engines_count_are_refused(size):
    with pytest.raises(UsageError, match="more than 2147483647 values"):
        FrameShape.fixed(*size).check(8, 64)


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


@pytest.mark.parametrize(
    "text", ["480x640", "1x480x640x3", "1x-480x640", "axbxc", "", "1x480x6" + "4" * 5000]
)
def test_a_shape_is_three_numbers(text):
    with pytest.raises(UsageError, match="BATCHxHEIGHTxWIDTH"):
        parse_shape(text)
