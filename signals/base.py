"""The interface of a kind of signal, through which training, evaluation and pictures use all kinds.

A kind is one file of this folder (or any Python file, named by its path) with one subclass of [`Signal`]: a dataclass
whose fields are its flags on the command line.
"""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pixeltransformer.levels import Levels
from signals.cells import average_cells, cell_positions, random_pairs, values_at_scales
from signals.patterns import ANY_KIND, Pattern
from signals.plan import EvaluationPlan

Batch = Tensor | list[Tensor]  # signals as stored, stacked where they have one shape


class Observation(NamedTuple):
    """Observed values of some signals, and queries with their true values."""

    context_positions: Tensor  # (B, K, P)
    context_values: Tensor  # (B, K, V)
    query_positions: Tensor  # (B, Q, P)
    query_values: Tensor  # (B, Q, V)


def flag(text: str, default: Any = None, *earlier: str) -> Any:
    """A dataclass field with a help text, which becomes a flag of the command line, also under `earlier` names."""
    return field(default=default, metadata={"help": text, "aliases": list(earlier)})


def flags(text: str, default: Sequence) -> Any:
    """As `flag`, for a flag that takes several values."""
    return field(default_factory=lambda: list(default), metadata={"help": text})


class FlagError(ValueError):
    """A flag does not fit the data, whatever the row. The message names the flag."""


class BadRowError(ValueError):
    """A row that cannot be read. The message names the dataset's own row and, where there is one, its file."""


class Rows(Dataset):
    """Signals as stored, decoded when first asked for and kept while they take no more than `cache_bytes`.

    Args:
        source (`Sequence`): What `decode` turns into a signal, row by row.
        decode (`Callable`): From a row of the source to a tensor.
        skip (`int`): How many rows that cannot be read are left out, each reported, before a `BadRowError` is raised.
            The next row takes the place of one that is left out.
        name (`Callable`): Returns the words for a row, given its index, for error messages.
        stream: The `signals.streams.Stream` that the rows come from, if any. Its rows are read in order, without end,
            and none is kept.
    """

    def __init__(
        self,
        source: Sequence,
        decode: Callable[[Any], Tensor],
        cache_bytes: int = 2 << 30,
        *,
        skip: int = 0,
        name: Callable[[int], str] | None = None,
        stream: Any = None,
    ):
        self.source, self.decode, self.left = source, decode, 0 if stream is not None else cache_bytes
        self.skip, self.name, self.stream = skip, name or "row {} of the data".format, stream
        self.bad: dict[int, str] = {}  # why a row cannot be read, by index
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Tensor:
        if self.stream is None:
            if not -len(self) <= index < len(self):
                raise IndexError(f"index: expected a row below {len(self)}, got {index}")
            index %= len(self)
        while (row := self._read(index)) is None:
            if len(self.bad) >= len(self) > 0:
                raise BadRowError(f"none of {len(self)} rows can be read; the last one: {self.bad[index]}")
            index = index + 1 if self.stream is not None else (index + 1) % len(self)
        return row

    def _read(self, index: int) -> Tensor | None:
        """A row, or `None` if it is left out."""
        if index in self._kept:
            return self._kept[index]
        if index in self.bad:
            return None
        try:
            row = self.decode(self.source[index])
        except (FlagError, MemoryError):
            raise
        except Exception as error:  # decoding libraries raise exceptions of every kind
            self._leave_out(index, error)
            return None
        if row.nbytes <= self.left:
            self.left -= row.nbytes
            self._kept[index] = row
        return row

    def _leave_out(self, index: int, error: Exception) -> None:
        reason = " ".join(str(error).split())[:400] or type(error).__name__
        message = f"{self.name(index)}: {reason}"
        if len(self.bad) >= self.skip:
            more = f" ({len(self.bad)} rows before it could not be read either)" if self.bad else ""
            raise BadRowError(message + more) from error
        self.bad[index] = message
        say(f"left out ({len(self.bad)} of at most {self.skip}) {message}")

    def first(self, count: int) -> list[Tensor]:
        """The first `count` rows that can be read, or all."""
        found: list[Tensor] = []
        for index in range(len(self)):
            if len(found) == count:
                break
            if (row := self._read(index)) is not None:
                found.append(row)
        if count and not found and self.bad:
            raise BadRowError(f"none of {len(self)} rows can be read; the last one: {[*self.bad.values()][-1]}")
        return found


def say(text: str) -> None:
    """Print a line about the data to stderr, on the first of several processes only."""
    if os.environ.get("RANK", "0") == "0":
        print(f"data: {text}", file=sys.stderr, flush=True)


@dataclass
class Signal(ABC):
    """One kind of signal: its data, its positions and values, its patterns and its picture."""

    kind: ClassVar[str]  # the name that a checkpoint's config carries
    plural: ClassVar[str]  # what several of them are called in a sentence
    families: ClassVar[tuple[str, ...]] = ANY_KIND  # of patterns that training draws contexts from
    patterns: ClassVar[dict[str, Pattern]] = {}  # by the names that evaluation and the app show

    @abstractmethod
    def load(self, seed: int) -> tuple[Rows, Rows]:
        """Training and validation rows, which share no signal. `seed` decides which rows are held out.

        Raises:
            ValueError: naming the flag, for data that is not there or cannot be read.
        """

    @abstractmethod
    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        """The first `limit` rows (default: all) of a split by name, made to fit a checkpoint's config.

        The signal itself stays as it is.
        """

    @abstractmethod
    def config_fields(self, rows: Rows) -> dict[str, Any]:
        """Fields of the model's config that the signal decides: grid, channels, value range, quantisation, …"""

    @abstractmethod
    def pairs(
        self, batch: Batch, count: int, generator: torch.Generator | None = None, continuous: bool = False
    ) -> tuple[Tensor, Tensor]:
        """`count` random positions of each signal: positions (B, count, P) and the values there (B, count, V).

        Distinct cells of the signal's grid; continuous ones if `continuous`, or if the grid has too few cells.
        """

    @abstractmethod
    def grid_values(self, batch: Batch, grid: list[int]) -> Tensor:
        """Values (B, cells, V) at the cell centres of a grid, in the order of `model.native_positions`."""

    @abstractmethod
    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        """One signal's values (cells, V) on a grid as a picture; NaN where nothing is known."""

    @property
    def axes(self) -> list[int] | None:
        """For each axis of an array, slowest first, its coordinate in a position; `None`: the config's default."""
        return None

    def positions(self, grid: list[int]) -> Tensor:
        """Positions (cells, P) of a grid's cells, in the order of `grid_values`."""
        return cell_positions(grid, torch.arange(torch.Size(grid).numel()))

    def num_cells(self, fields: dict[str, Any]) -> int:
        """Number of cells that positions are chosen from, given `config_fields`; 0 if positions are continuous."""
        return torch.Size(fields["native_grid"]).numel()

    def is_native(self, row: Tensor, grid: list[int]) -> bool:
        """Whether `grid_values` works for this stored signal and grid."""
        return True

    def pyramid(self, batch: Batch, num_scales: int, levels: Levels | None = None) -> list[Tensor]:
        """Values of the batch, and their averages over ever larger cells; see `GridSignal.pyramid`."""
        raise ValueError(f"--num_scales: expected 1, as {self.plural} have no cells to average over, got {num_scales}")

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Random data augmentation for training; none by default."""
        return batch

    def revise(
        self, batch: Batch, positions: Tensor, values: Tensor, context: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change the positions (B, N, P) and values (B, N, V) of a training step; the first `context` are observed.

        By default nothing is changed. A kind may replace values by ones that random positions never give: points on a
        surface, or values that a polynomial rarely has.
        """
        return positions, values

    def observe(
        self, batch: Batch, pattern: Pattern, grid: list[int], generator: torch.Generator | None = None
    ) -> Observation:
        """Cells of a grid: those that a pattern observes as context, all others as queries."""
        values = self.grid_values(batch, grid)
        positions = self.positions(grid).to(values.device).expand(len(values), -1, -1)
        parts = []
        for indices in pattern.observe(positions, generator):
            parts += [x.gather(1, indices[..., None].expand(-1, -1, x.shape[-1])) for x in (positions, values)]
        return Observation(*parts)

    def predictor(self, model: Any) -> Any:
        """What answers `predict` for this kind's values: the model, unless it was trained on what is made of them."""
        return model

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        """How this kind is evaluated and shown. What only an evaluation needs is imported here, not by the app."""
        return EvaluationPlan()

    @property
    def posterior(self) -> Any:
        """The exact posterior given some values (`predict`, `sample`, `log_prob`, `has_density`), where it is known."""
        return None

    def describe(self, count: int) -> str:
        """A sentence for the model card about the `count` training rows."""
        return f"{count:,} {self.plural}."

    def source(self) -> tuple[str, str | None]:
        """Name of the data for the title of a card, and its Hub dataset, if any."""
        return self.kind, None

    @staticmethod
    def collate(rows: list[Tensor]) -> Batch:
        """Make a batch from rows: a tensor if they have one shape, otherwise the list."""
        return torch.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return [row.to(device, non_blocking=True) for row in batch]


class GridSignal(Signal):
    """Signals stored as arrays of cells (…, y, x, V), looked up at cell centres or, linearly, between them."""

    # Which of an array's axes, counted from the fastest (x), is the first, second, … coordinate of a position.
    coordinates: ClassVar[tuple[int, ...]]

    @property
    def axes(self) -> list[int]:
        return [self.coordinates.index(axis) for axis in reversed(range(len(self.coordinates)))]

    def values(self, arrays: Tensor) -> Tensor:
        """Float values of arrays as stored (default: floats already)."""
        return arrays.float()

    def pairs(
        self, batch: Batch, count: int, generator: torch.Generator | None = None, continuous: bool = False
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(batch, Tensor):
            parts = [self.pairs(row[None], count, generator, continuous) for row in batch]
            return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        continuous = continuous or count > batch[0, ..., 0].numel()
        return self.random_pairs(self.values(batch), count, generator, continuous)

    def random_pairs(
        self, arrays: Tensor, count: int, generator: torch.Generator | None = None, continuous: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As `pairs`, uniformly at random in arrays of values (B, …, y, x, V), of whatever scale."""
        positions, values = random_pairs(arrays, count, continuous, generator)
        return positions[..., list(self.coordinates)], values

    def values_at_scales(self, pyramid: list[Tensor], positions: Tensor, scales: Tensor) -> Tensor:
        """Values (B, N, V) of a `pyramid` at positions (B, N, P) and scales (B, N), see `signals.cells`."""
        fastest_first = [self.coordinates.index(axis) for axis in range(positions.shape[-1])]
        return values_at_scales(pyramid, positions[..., fastest_first], scales)

    def pyramid(self, batch: Batch, num_scales: int, levels: Levels | None = None) -> list[Tensor]:
        """Arrays (B, …, y, x, V) of the batch's values and of their averages over cells of 2, 4, 8, … cells a side.

        Args:
            levels (`Levels` or `None`): Averages are rounded to the nearest one, where values are quantised.

        Raises:
            ValueError: for signals of several shapes, or of sides that cannot be halved so often.
        """
        if not isinstance(batch, Tensor):
            raise ValueError(f"--num_scales: expected {self.plural} of one shape for a pyramid, got several")
        scales = [self.values(batch)]
        for _ in range(num_scales - 1):
            if any(side % 2 for side in scales[-1].shape[1:-1]):
                raise ValueError(
                    f"--num_scales: expected sides that can be halved {num_scales - 1} times, "
                    f"got {self.plural} of {tuple(scales[0].shape[1:-1])}"
                )
            averages = average_cells(scales[-1])
            scales.append(averages if levels is None else levels.nearest(averages))
        return scales

    def grid_values(self, batch: Batch, grid: list[int]) -> Tensor:
        if not isinstance(batch, Tensor) or batch.shape[1:-1] != self.array_shape(grid):
            got = sorted({tuple(row.shape[:-1]) for row in batch})[:4]
            raise ValueError(f"{self.plural}: expected arrays of shape {tuple(self.array_shape(grid))}, got {got}")
        return self.values(batch).flatten(1, -2)

    def is_native(self, row: Tensor, grid: list[int]) -> bool:
        return row.shape[:-1] == self.array_shape(grid)

    def array_shape(self, grid: list[int]) -> torch.Size:
        """Shape (…, y, x) of the array whose cells a grid, given in the order of a position's coordinates, has."""
        sizes = dict(zip(self.coordinates, grid, strict=True))
        return torch.Size([sizes[axis] for axis in range(len(grid))][::-1])

    def grid_of(self, array: Tensor) -> list[int]:
        """The grid, in the order of a position's coordinates, of an array (…, y, x, V)."""
        fastest_first = list(array.shape[-2::-1])
        return [fastest_first[axis] for axis in self.coordinates]

    def positions(self, grid: list[int]) -> Tensor:
        shape = self.array_shape(grid)
        return cell_positions(list(shape[::-1]), torch.arange(shape.numel()))[..., list(self.coordinates)]
