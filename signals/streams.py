"""Rows of a dataset larger than the disk, read in order during training."""

import random
from collections.abc import Iterator
from typing import Any

from datasets import Features, IterableDataset
from datasets.distributed import split_dataset_by_node

from signals.base import FlagError


class Stream:
    """The rows of a streamed dataset, numbered 0, 1, … over endless epochs. They must be read in order.

    Blocks of consecutive rows are read and shuffled. The rows to come depend only on where the current block begins, so
    a stream resumes exactly where it stopped. (A shuffle buffer loses its contents.) Rows are kept as stored, and
    decoded when read.

    Args:
        rows (`IterableDataset`): The split.
        block_rows (`int`): Number of rows that are read and shuffled together.
    """

    def __init__(self, rows: IterableDataset, seed: int, block_rows: int):
        self.rows, self.seed, self.block_rows = rows, seed, block_rows
        self.rank, self.world_size = 0, 1
        self._rewind()

    def _rewind(self) -> None:
        self.epoch, self.start, self.longest = 0, 0, 0  # `start`: number of the block's first row
        self.place: dict | None = None  # state of the dataset at the start of the block
        self.block: list[dict] = []
        self.source: IterableDataset | None = None
        self.iterator: Iterator[dict] = iter(())

    def split(self, rank: int, world_size: int) -> None:
        """Keep one of `world_size` parts, which share no row, and begin again."""
        self.rank, self.world_size = rank, world_size
        self._rewind()

    # What the kinds of signals call on a `Dataset`; here they change the stream itself.

    @property
    def features(self) -> Features:
        return self.rows.features

    def select_columns(self, columns: list[str]) -> "Stream":
        self.rows = self.rows.select_columns(columns)
        self._rewind()
        return self

    def cast_column(self, column: str, feature: Any) -> "Stream":
        self.rows = self.rows.cast_column(column, feature)
        self._rewind()
        return self

    def with_format(self, kind: str) -> "Stream":
        self.rows = self.rows.with_format(kind)
        self._rewind()
        return self

    def __len__(self) -> int:
        """Number of different rows read so far; the total is not known before the end of the first epoch."""
        return max(self.longest, self.start + len(self.block) if self.epoch == 0 else 0)

    def __getitem__(self, index: int) -> dict:
        """Row `index`, from the current block or a later one.

        Raises:
            FlagError: for a row before the current block, or if the dataset has no rows.
        """
        if index < self.start:
            raise FlagError(
                f"--streaming: expected rows in order, from {self.start} on, got {index}; leave it out here"
            )
        while index >= self.start + len(self.block):
            self._next_block()
        return self.features.decode_example(self.block[index - self.start])

    def _next_block(self) -> None:
        if self.source is None:
            part = split_dataset_by_node(self.rows.decode(False), self.rank, self.world_size)
            self.source = part
            if self.place is not None:
                self.source.load_state_dict(self.place)
            self.iterator = iter(self.source)
        elif self.block:
            self.start += len(self.block)
        self.place = self.source.state_dict() if self.block or self.place is None else self.place
        self.block = [row for _, row in zip(range(self.block_rows), self.iterator, strict=False)]
        if not self.block:
            if self.longest == 0 and self.start == 0:
                raise FlagError(f"--dataset_name: expected rows for each of {self.world_size} processes, got none")
            self.longest = max(self.longest, len(self))
            self.epoch, self.source, self.place = self.epoch + 1, None, None
            return
        random.Random(f"{self.seed} {self.rank} {self.epoch} {self.start}").shuffle(self.block)

    def state_dict(self) -> dict:
        """Where the block at hand begins; of its rows the training knows which are left."""
        return {"epoch": self.epoch, "start": self.start, "longest": self.longest, "place": self.place}

    def load_state_dict(self, state: dict) -> None:
        self._rewind()
        self.epoch, self.start = state["epoch"], state["start"]
        self.longest, self.place = state["longest"], state["place"]
