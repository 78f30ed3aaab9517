"""The stream of micro-batches: shares, epochs, resuming, sharing among processes."""

from __future__ import annotations

from itertools import islice

import numpy as np

from apdepth_deploy.training.data.mixing import Draw, Mixture


def take(mixture: Mixture, count: int, *args: int) -> list[list[Draw]]:
    return list(islice(mixture.stream(*args), count))


def test_micro_batches_come_whole_from_one_set_in_their_shares() -> None:
    batches = take(Mixture([50, 20], [9, 1], 4, seed=3), 4000, 0)
    assert all(len({draw.which for draw in batch}) == 1 and len(batch) == 4 for batch in batches)
    share = np.mean([batch[0].which == 1 for batch in batches])
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_a_set_is_gone_through_before_it_is_repeated() -> None:
    batches = take(Mixture([12, 7], [0.5, 0.5], 3, seed=0), 200, 0)
    for which, size in ((0, 12), (1, 7)):
        seen = [draw.frame for batch in batches for draw in batch if draw.which == which]
        epochs = [seen[i : i + size] for i in range(0, len(seen) - size, size)]
        assert len(epochs) > 5
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert epochs[0] != epochs[1]


def test_the_seed_decides() -> None:
    first, again, other = (take(Mixture([30, 9], [9, 1], 2, seed), 40, 0) for seed in (1, 1, 2))
    assert first == again != other


def test_it_goes_on_anywhere() -> None:
    mixture = Mixture([30, 9], [9, 1], 2, seed=5)
    assert take(mixture, 10, 17) == take(mixture, 27, 0)[17:]


def test_processes_share_one_stream() -> None:
    mixture = Mixture([30, 9], [9, 1], 2, seed=5)
    whole = take(mixture, 24, 0)
    parts = [take(mixture, 8, 0, rank, 3) for rank in range(3)]
    assert [batch for step in zip(*parts, strict=True) for batch in step] == whole
    resumed = [take(mixture, 4, 12, rank, 3) for rank in range(3)]
    assert [batch for step in zip(*resumed, strict=True) for batch in step] == whole[12:]


def test_every_frame_has_a_number_of_its_own() -> None:
    batches = take(Mixture([30, 9], [9, 1], 2, seed=5), 50, 0)
    assert [draw.number for batch in batches for draw in batch] == list(range(100))
