"""The chain rule: values that are drawn or scored one after another, each given the context and the values before.

A row is one sample of one item of the batch. Its tokens lie in slots: slot 0 holds the "nothing observed" token, slots
1, …, K the context, and the slots after them the values of the chain in their order. A token or query always sees the
first n slots, for some n. Rows can therefore have different numbers of known and of drawn values.

A drawn value is *buffer* at first: it is encoded once, and later values do not change it. From time to time all drawn
values of a row become *context*: they are encoded again, and then all see each other, which predicts better.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .context import Context
from .distribution import ValueDistribution
from .orders import values_in_context
from .row_memory import Packing, RowMemory, windows
from .streams import Streams


def _part(x: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if x is None else x[:, start:stop]


class Chain:
    """Rows of values to draw at given positions, the values drawn so far, and the memory of their keys and values.

    Attributes (lists with one number per row):
        known (`list[int]`): Values known before the chain starts.
        drawn (`list[int]`): Values drawn so far. Each step makes a new list.
        held (`list[int]`): Drawn values that are context; the others are buffer.
        encoded (`list[int]`): Drawn values whose keys and values the memory holds.
        totals (`list[int]`): Values to draw in all.
    """

    def __init__(
        self,
        model,
        context: Context,
        positions: Tensor,
        scales: Tensor | None,
        totals: list[int],
        spare: int,
    ):
        """Prepare N rows, N / B for each of the B items of the context: all items of sample 0, of sample 1, …

        Args:
            positions, scales (`Tensor` (N, L, P) and (N, L)): In the order of drawing; L is at least the largest total.
            spare (`int`): Free slots after the last value, see `speculative.spare`.
        """
        times = len(positions) // len(context.positions)
        positions, scales = positions[:, : max(totals)], _part(scales, 0, max(totals))
        context = context.packed()
        self.model, self.totals = model, totals
        self.known = context.counts() * times
        self.drawn, self.held, self.encoded = ([0] * len(positions) for _ in range(3))
        memory = context.encode(model)
        most = max(self.known) + max(totals) + spare
        self.memory = RowMemory(memory, times, 1 + most)
        self.first = torch.tensor(self.known, device=positions.device)[:, None]  # index of the first drawn value
        context = context.repeat(times)
        behind = self.first + torch.arange(max(totals), device=positions.device)

        def in_slots(known: Tensor, further: Tensor | None) -> Tensor:  # of known values, then those of the chain
            slots = F.pad(known, (*[0] * (2 * known.dim() - 4), 0, most - known.shape[1]))
            rows = torch.arange(len(slots), device=slots.device)[:, None]
            return slots if further is None else slots.index_put((rows, behind), further.to(slots.dtype))

        self.positions = in_slots(context.positions, positions)  # (N, slots but the first, P)
        self.values = in_slots(context.values.to(positions.dtype), None)
        self.scales = None
        if scales is not None or context.scales is not None:
            zeros = torch.zeros_like(self.positions[..., 0])
            known = zeros[:, : max(context.positions.shape[1], 0)] if context.scales is None else context.scales
            self.scales = in_slots(known, torch.zeros_like(positions[..., 0]) if scales is None else scales)
        # What depends on positions alone is computed once.
        self.embedded = model.embed_positions(self.positions, self.scales)

    def _slots(self, numbers: list[int]) -> list[int]:
        return [known + number for known, number in zip(self.known, numbers, strict=True)]

    def embedded_at(self, starts: list[int], count: int, queries: bool):
        """Embedded positions of `count` values of each row from `starts` on; arbitrary ones after the last value.

        For `queries`, or for tokens.
        """
        slots = self._slots(starts)
        if min(slots) == max(slots):
            return self.embedded.part(slots[0], slots[0] + count)
        return self.embedded.at(*windows(slots, count, self.values.device), queries)

    def values_at(self, starts: list[int], count: int) -> Tensor:
        """Values (N, `count`, V) of each row from `starts` on; arbitrary where nothing is drawn yet."""
        slots = self._slots(starts)
        if min(slots) == max(slots):
            return self.values[:, slots[0] : slots[0] + count]
        return self.values[windows(slots, count, self.values.device)]

    def write(self, starts: list[int], values: Tensor) -> None:
        """Store values (N, L, V) of each row from `starts` on, without counting them as drawn (see `drawn`)."""
        slots, count = self._slots(starts), values.shape[1]
        if min(slots) == max(slots):
            self.values[:, slots[0] : slots[0] + count] = values
        else:
            self.values[windows(slots, count, values.device)] = values.to(self.values.dtype)

    @property
    def done(self) -> bool:
        """Whether all values of all rows are drawn."""
        return self.drawn == self.totals

    def after(self, drawn: list[int], count: int) -> tuple[Tensor, Tensor]:
        """Values (N, `count`, V) in the order of drawing after so many of each row, and a mask (N, `count`) of these.

        The others are NaN. Values do not change once they are drawn, so `drawn` may be any earlier `self.drawn`.
        """
        there = torch.arange(count, device=self.values.device) < self._column(drawn)
        values = self.values_at([0] * len(drawn), max(self.totals))
        values = F.pad(values, (0, 0, 0, count - values.shape[1]))
        return torch.where(there[..., None], values, torch.nan), there

    def _column(self, numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, device=self.values.device)[:, None]

    def noise(self, streams: Streams) -> "Noise":
        """The random numbers of all values, from the rows' streams."""
        return Noise.of(streams, max(self.totals), self.values.shape[-1], self.values.device)

    def renew(self, rows: list[int]) -> None:
        """Encode all drawn values of these rows again, as context. Rows with equally many values go together."""
        groups: dict[int, list[int]] = {}
        for row in rows:
            groups.setdefault(self.known[row] + self.drawn[row], []).append(row)
        for count, alike in groups.items():
            index = torch.tensor(alike, device=self.first.device)
            known = Context(self.positions[index, :count], self.values[index, :count])
            known.scales = None if self.scales is None else self.scales[index, :count]
            self.memory.replace(alike, known.encode(self.model))
        for row in rows:
            self.held[row] = self.encoded[row] = self.drawn[row]

    def append(
        self, starts: list[int], values: Tensor, seen: Tensor | None = None, counts: list[int] | None = None
    ) -> None:
        """Encode values (N, L, V) into the slots from `starts` on.

        Each token sees the first `seen` (N, L) values of the chain; `None`: all, including these L. With `counts`, only
        the first `counts[r]` values of row r are needed; `seen` must then be given.
        """
        packing = None if counts is None else Packing.of(counts, self.first.device)
        slots, seen = [1 + slot for slot in self._slots(starts)], None if seen is None else 1 + self.first + seen
        self.memory.start_at(slots, packing)
        if packing is None:
            self.model.append(self.memory, self.embedded_at(starts, values.shape[1], queries=False), values, seen)
        else:
            embedded = self._packed(packing, starts, queries=False)
            self.model.append(self.memory, embedded, packing.pack(values), packing.pack(seen))
        counts = [values.shape[1]] * len(slots) if packing is None else counts
        self.memory.start_at([slot + count for slot, count in zip(slots, counts, strict=True)])

    def decode(self, starts: list[int], count: int, seen: Tensor | None = None, counts: list[int] | None = None):
        """Distributions (N, `count`) of the values from `starts` on.

        Each is given the first `seen` (N, `count`) values of the chain; `None`: all encoded ones. With `counts`, only
        the first `counts[r]` distributions of row r are needed; the others are arbitrary. `seen` must then be given.
        """
        if seen is None:
            self.memory.start_at([1 + slot for slot in self._slots(self.encoded)])
            return self.model.decode(self.memory, self.embedded_at(starts, count, queries=True))
        packing = None if counts is None else Packing.of(counts, self.first.device)
        self.memory.start_at(self.memory.starts, packing)
        seen = 1 + self.first + seen
        if packing is None:
            return self.model.decode(self.memory, self.embedded_at(starts, count, queries=True), seen)
        embedded = self._packed(packing, starts, queries=True)
        packed = self.model.decode(self.memory, embedded, packing.pack(seen))
        return packed[0, packing.unpacking(count)]

    def _packed(self, packing: Packing, starts: list[int], queries: bool):
        """Embedded positions (1, T) of the values from `starts` on, as many of each row as `packing` holds."""
        slots = torch.tensor(self._slots(starts))[packing.rows] + packing.columns
        return self.embedded.at(packing.rows[None], slots[None], queries)

    def memory_of_all(self) -> RowMemory:
        """The memory, set up for queries that see everything that is encoded."""
        self.memory.start_at([1 + slot for slot in self._slots(self.encoded)])
        return self.memory

    def encode_anew(self, seen: Tensor) -> None:
        """Encode everything again under the same masks, as if there were no cache.

        Args:
            seen (`Tensor` (N, largest of `totals`)): How many values of the chain each value's token sees.
        """
        drawn = self.drawn
        self.drawn = self.held.copy()
        self.renew(list(range(len(drawn))))
        self.drawn = drawn
        count = max(done - held for done, held in zip(drawn, self.held, strict=True))
        if count:
            rows, numbers = windows(self.held, count, seen.device)
            self.append(self.held, self.values_at(self.held, count), seen[rows, numbers.clamp(max=seen.shape[1] - 1)])
        self.encoded = drawn.copy()


@dataclass
class Noise:
    """The random numbers of all values (N, total) of a chain; they do not depend on how the values are drawn.

    A value that is drafted again uses the same numbers, so its draft changes little if its distribution does.
    """

    choice: Tensor  # (N, total), uniform in (0, 1)
    normal: Tensor  # (N, total, V)
    accept: Tensor  # (N, total), uniform in (0, 1)

    @classmethod
    def of(cls, streams: Streams, total: int, channels: int, device) -> "Noise":
        numbers = torch.arange(total).expand(len(streams.keys), -1)
        uniform = streams.uniform(numbers, 0, channels + 2)
        normal = torch.special.ndtri(uniform[..., 2:])
        return cls(*(part.float().to(device) for part in (uniform[..., 0], normal, uniform[..., 1])))

    def at(self, starts: list[int], count: int) -> "Noise":
        """The numbers of `count` values of each row from `starts` on; past the end, the last ones are repeated."""
        rows, numbers = windows(starts, count, self.choice.device)
        numbers = numbers.clamp(max=self.choice.shape[1] - 1)
        return Noise(self.choice[rows, numbers], self.normal[rows, numbers], self.accept[rows, numbers])


@torch.inference_mode()
def draw_blocks(
    chain: Chain,
    sizes: list[list[int]],
    streams: Streams | None,
    temperature: float = 1.0,
    use_cache: bool = True,
    complete: bool = False,
    values_of: Callable[[ValueDistribution, list[int], list[int]], Tensor] | None = None,
) -> Iterator[None]:
    """Draw the values of a chain block by block, those of a block independently; yields after each block.

    Drawn values form the buffer: each is encoded once, and its keys and values are cached. When the buffer of a row
    exceeds `config.max_buffer_share` of its known values, everything becomes context and is encoded again. In a long
    chain a value is encoded about 1 + 1 / share times on average, and once if the share is 1.

    Args:
        sizes (`list[list[int]]`): Block sizes of each row. All rows have equally many; blocks may be empty.
        use_cache (`bool`): `False` encodes everything again for each block, under the masks that the cache implies.
        complete (`bool`): Encode the last block too, so that the memory holds all values at the end.
        values_of (`Callable` or `None`): Supplies the values (N, L, V) of a block instead of random numbers, given
            their distributions (N, L) and, for each row, the index of its first value and the number of values, at
            most L. Values after that number are ignored. With it, `streams` may be `None`.
    """
    noise = None if streams is None else chain.noise(streams)
    share, device = chain.model.config.max_buffer_share, chain.values.device
    held = [values_in_context(known, row, share) for known, row in zip(chain.known, sizes, strict=True)]
    ends = torch.tensor([list(itertools.accumulate(row)) for row in sizes], device=device)  # (N, blocks)
    for index, counts in enumerate(zip(*sizes, strict=True)):
        starts, count = chain.drawn, max(counts)
        if index and not use_cache:
            chain.encode_anew(_stops(ends, max(chain.totals)))
        distribution = chain.decode(starts, count).tempered(temperature)
        if values_of is None:
            part = noise.at(starts, count)
            values = distribution.draw(part.choice, part.normal)
        else:
            values = values_of(distribution, starts, list(counts))
        chain.write(starts, values)
        chain.drawn = [start + count for start, count in zip(starts, counts, strict=True)]
        if complete or not chain.done:
            due = [row for row, of_row in enumerate(held) if of_row[index + 1] > of_row[index]]
            if len(due) < len(held):
                chain.append(starts, values, None if min(counts) == count else ends[:, index, None].expand(-1, count))
                chain.encoded = chain.drawn.copy()
            chain.renew(due)
        yield


def _stops(ends: Tensor, count: int) -> Tensor:
    """End of the block that each value lies in, (N, `count`), from the ends of all blocks (N, blocks)."""
    numbers = torch.arange(count, device=ends.device).expand(len(ends), -1).contiguous()
    return ends.gather(1, torch.searchsorted(ends, numbers, right=True).clamp(max=ends.shape[1] - 1))


@torch.no_grad()
def score_blocks(
    model,
    context: Context,
    positions: Tensor,
    values: Tensor,
    scales: Tensor | None,
    sizes: list[list[int]],
    chunk_size: int = 1024,
) -> Tensor:
    """Log-likelihood (N, Q), in nats, of each value (N, Q, V) given the context and the values of earlier blocks.

    Earlier values are context or buffer exactly as in `draw_blocks`. Items with the same number of known values are
    scored together, so that no item's result depends on the others.

    Args:
        sizes (`list[list[int]]`): Block sizes of each item. Values after the last block are not scored; their entry
            is 0.
        chunk_size (`int`): Approximate number of buffer values encoded at a time, so that memory grows linearly with Q.
    """
    context, scores = context.packed(), torch.zeros(positions.shape[:2], device=positions.device)
    groups: dict[tuple, list[int]] = {}
    for row, plan in enumerate(zip(context.counts(), map(tuple, sizes), strict=True)):
        groups.setdefault(plan, []).append(row)
    for (known, plan), rows in groups.items():
        index = torch.tensor(rows, device=positions.device)
        given = context.rows(index)
        given = Context(given.positions[:, :known], given.values[:, :known], None, _part(given.scales, 0, known))
        count = sum(plan)
        part = (x if x is None else x[index, :count] for x in (positions, values, scales))
        scores[index, :count] = _score_alike(model, given, *part, [size for size in plan if size], chunk_size)
    return scores


def _score_alike(
    model,
    context: Context,
    positions: Tensor,
    values: Tensor,
    scales: Tensor | None,
    sizes: list[int],
    chunk_size: int,
) -> Tensor:
    """`score_blocks` for items with the same number of known values and the same block sizes."""
    scores = torch.empty(positions.shape[:2], device=positions.device)
    counts = torch.tensor(sizes, dtype=torch.long)  # the dtype matters where nothing is scored
    blocks = torch.repeat_interleave(torch.arange(len(sizes)), counts).to(positions.device)
    in_context = values_in_context(context.positions.shape[1], sizes, model.config.max_buffer_share)[:-1]
    ends: dict[int, int] = {}  # by number of drawn values in the context: end of the values scored with it
    for held, stop in zip(in_context, itertools.accumulate(sizes), strict=True):
        ends[held] = stop
    for held, end in ends.items():
        known = context if not held else context.extend(positions[:, :held], values[:, :held], _part(scales, 0, held))
        memory, start = known.encode(model, end - held), held
        while start < end:
            stop = min(start + chunk_size, end)
            while stop < end and blocks[stop] == blocks[stop - 1]:  # a block is never cut in two
                stop += 1
            embedded = model.embed_positions(positions[:, start:stop], _part(scales, start, stop))
            part, length = blocks[start:stop], memory.length
            model.append(memory, embedded, values[:, start:stop], part)
            past = F.pad(part[None, :] < part[:, None], (length, 0), value=True)
            distribution = model.decode(memory, embedded, past)
            scores[:, start:stop] = distribution.log_prob(values[:, start:stop])
            start = stop
    return scores
