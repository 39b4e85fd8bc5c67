"""Two loaders side by side, and one beside nothing."""

import torch

from advarch.lit.paired import Paired
from advarch.types import Batch


class Counting:
    """A loader of batches of two images that are numbered."""

    def __init__(self, batches: int) -> None:
        self.batches, self.start_batch, self.epoch = batches, 0, 0

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        first, self.start_batch = self.start_batch, 0
        for number in range(first, self.batches):
            yield Batch(torch.zeros(2, 1, 1, 1), torch.zeros(2), torch.tensor([10 * self.epoch + number] * 2))


def seen(paired: Paired) -> list[tuple[int, ...]]:
    return [tuple(int(batch.index[0]) for batch in pair if len(batch.y)) for pair in paired]


def test_pairs_end_with_the_shorter_and_start_where_they_are_told_once() -> None:
    paired = Paired(Counting(3), Counting(2))
    paired.set_epoch(1)
    paired.start_batch = 1
    assert len(paired) == 2 and seen(paired) == [(11, 11)]
    assert seen(paired) == [(10, 10), (11, 11)]


def test_without_a_second_loader_all_batches_come_beside_empty_ones() -> None:
    paired = Paired(Counting(3), None)
    paired.set_epoch(2)
    paired.start_batch = 2
    assert len(paired) == 3 and seen(paired) == [(22,)] and seen(paired) == [(20,), (21,), (22,)]
    assert all(pair.arch.x.shape == (0, 1, 1, 1) for pair in paired)
