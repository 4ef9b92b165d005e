"""What a training reads: episodes made from batches of signals, and how far it has read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from signals.base import BadRowError, Batch, Rows, Signal, to_device
from training.batches import EpisodeBatches
from training.episodes import EpisodeSampler, make_episode
from training.interruption import ignore_interrupts


class Reader:
    """An endless iterator of episodes: those of the batches that belong to this process, in order.

    Args:
        rank, world_size (`int`): Number of this process, and of all.
        device (`torch.device`): Where episodes are made.
        seed (`int`): Of the episodes' positions.
        num_workers (`int`): Processes that read rows.

    Attributes:
        batch (`int`): Number of the next batch, of all processes, after the steps that were counted.
        latest (`int` or `None`): Number of the batch that came last.
        row (`int`): Number of the next row in the endless shuffled data; of a stream, of this process's own part.
    """

    def __init__(
        self,
        signal: Signal,
        rows: Rows,
        sampler: EpisodeSampler,
        device: torch.device,
        rank: int,
        world_size: int,
        seed: int,
        num_workers: int = 0,
    ):
        if rows.stream is not None:
            if num_workers:
                raise ValueError(
                    "--num_workers: expected 0 with --streaming, as the training process itself keeps its place in it, "
                    f"got {num_workers}"
                )
            rows.stream.split(rank, world_size)
            rows.bad.clear()  # numbers mean other rows now
        self.signal, self.rows, self.sampler, self.device, self.seed = signal, rows, sampler, device, seed
        self.rank, self.world_size, self.num_workers = rank, world_size, num_workers
        self.batch, self.row, self.latest = 0, 0, None
        self._number, self._batches = 0, None

    def __iter__(self) -> "Reader":
        return self

    def __next__(self) -> dict[str, Tensor]:
        if self._batches is None:
            self._batches, self._number = self._open(), self.batch + self.rank
        batch = next(self._batches)
        if isinstance(batch, BadRowError):
            raise batch
        self.latest, self._number = self._number, self._number + self.world_size
        batch = to_device(batch, self.device)
        return make_episode(self.signal, batch, self.sampler.sizes(self.latest), self.seed, self.latest)

    def _open(self):
        streamed = self.rows.stream is not None
        batches = EpisodeBatches(
            None if streamed else len(self.rows), self.sampler, self.rank, self.world_size, self.batch, self.row
        )
        read = ReadBatch(self.rows, self.signal)
        return iter(
            DataLoader(
                read,
                sampler=batches,
                batch_size=None,
                num_workers=self.num_workers,
                worker_init_fn=ignore_interrupts,
            )
        )

    def count_step(self, batches: int) -> None:
        """An optimiser step is done, of so many batches on each process."""
        for number in range(self.batch, self.batch + batches * self.world_size):
            if self.rows.stream is None or number % self.world_size == self.rank:
                self.row += self.sampler.sizes(number).signals
        self.batch += batches * self.world_size

    def state_dict(self) -> dict[str, Any]:
        """How far the data has been read; in a stream, this differs between processes."""
        stream = self.rows.stream
        return {"batch": self.batch, "row": self.row, "stream": None if stream is None else stream.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batch, self.row = state["batch"], state["row"]
        if self.rows.stream is not None:
            self.rows.stream.load_state_dict(state["stream"])


class ReadBatch(Dataset):
    """Batches of signals by lists of row numbers; a row that cannot be read gives its error."""

    def __init__(self, rows: Rows, signal: Signal):
        self.rows, self.collate = rows, signal.collate

    def __getitem__(self, indices: Sequence[int]) -> Batch | BadRowError:
        try:
            return self.collate([self.rows[index] for index in indices])
        except BadRowError as error:
            return error
