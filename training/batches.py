"""Which signals each training step sees, on each process."""

import itertools
from collections.abc import Iterator

import torch

from training.episodes import EpisodeSampler, mix_seed


class EpisodeBatches:
    """Endless batches of dataset indices, from batch number `start` on dealt out to the processes in turn.

    A batch sampler for `DataLoader`; accelerate's own sharding wants batches of one size, and these follow K. What a
    batch holds depends on its number alone, so that two processes see in a step what one sees that accumulates two.

    Args:
        num_rows (`int` or `None`): Rows of the dataset, of which seeded epochs follow one another; `None`: a stream,
            whose rows each process numbers from 0 and reads in order.
        start (`int`): Number of the first batch, which goes to process 0; of a stream a multiple of `world_size`.
        row (`int` or `None`): Number of its first row; `None`: the rows of all batches before, of these sizes.
    """

    def __init__(
        self,
        num_rows: int | None,
        sampler: EpisodeSampler,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
        row: int | None = None,
    ):
        self.num_rows, self.sampler = num_rows, sampler
        self.rank, self.world_size, self.start, self.row = rank, world_size, start, row
        self._permutation = (-1, torch.empty(0))  # the latest epoch's

    def rows(self, first: int, count: int) -> list[int]:
        """Rows number first, first + 1, … of the endless concatenation of shuffled epochs."""
        if self.num_rows is None:
            return list(range(first, first + count))
        out: list[int] = []
        while len(out) < count:
            epoch, offset = divmod(first + len(out), self.num_rows)
            if self._permutation[0] != epoch:
                generator = torch.Generator().manual_seed(mix_seed(self.sampler.seed, 2, epoch))
                self._permutation = epoch, torch.randperm(self.num_rows, generator=generator)
            out += self._permutation[1][offset : offset + count - len(out)].tolist()
        return out

    def __iter__(self) -> Iterator[list[int]]:
        first = self.row
        if first is None:
            first = sum(self.sampler.sizes(number).signals for number in range(self.start) if self._counts(number))
        for number in itertools.count(self.start):
            if not self._counts(number):
                continue
            count = self.sampler.sizes(number).signals
            if (number - self.start) % self.world_size == self.rank:
                yield self.rows(first, count)
            first += count

    def _counts(self, number: int) -> bool:
        """Whether a batch's rows come out of what this process draws from: of a stream it has a part for itself."""
        return self.num_rows is not None or number % self.world_size == self.rank
