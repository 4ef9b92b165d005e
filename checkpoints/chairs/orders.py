"""In which order values are drawn, and how many at a time: plain functions, apart from the network."""

from functools import lru_cache

import torch
from torch import Tensor

MORTON_BITS = 10  # per axis: 1,024 different coordinates order the queries along a curve
SLOPE = (
    1e-4  # nats by which a loss falls at least per unit of log(1 + known): what is equal is cut evenly, not at one end
)
FINE_ENDS = 1024  # block ends that the search considers beyond which not each number of values is one

# How the loss of one value falls with the number of known ones where a checkpoint has not measured it.
ASSUMED_LOSSES = {"known": [0, 1, 4, 16, 64, 256, 1024, 4096], "nats": [1.0, 0.97, 0.92, 0.84, 0.74, 0.64, 0.56, 0.5]}


def random_orders(shape: tuple[int, ...], length: int, device, generator: torch.Generator | None = None) -> Tensor:
    """Independent uniformly random permutations of 0 … length - 1, `(*shape, length)`."""
    return torch.rand(*shape, length, generator=generator, device=device).argsort(-1)


def spread_orders(positions: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Random permutations (N, Q) of places (N, Q, P) of which any stretch is spread evenly over them.

    Places are numbered along the Morton curve and taken in the order of a van der Corput sequence over those numbers,
    shifted at random digit by digit: of a full grid, stretches of 4^k places (P = 2) are lattices.
    """
    batch, count, axes = positions.shape
    device = positions.device
    cells = ((positions + 1) * 2 ** (MORTON_BITS - 1)).long().clamp(0, 2**MORTON_BITS - 1)
    code = torch.zeros(batch, count, dtype=torch.long, device=device)
    for bit in range(MORTON_BITS):
        for axis in range(axes):
            code |= ((cells[..., axis] >> bit) & 1) << (bit * axes + axis)
    along = code.argsort(-1)  # places in the order of the curve
    bits = max(1, (count - 1).bit_length())
    shift = torch.randint(2**bits, (batch, 1), generator=generator, device=device)
    number = (torch.arange(count, device=device) * 2**bits // count) ^ shift
    key = torch.zeros_like(number)
    for bit in range(bits):  # the first digits of the curve become the last of the key, which change fastest
        key |= ((number >> (bits - 1 - bit)) & 1) << bit
    return along.gather(1, key.argsort(-1))


def losses_at(curve: dict, known: int, count: int) -> Tensor:
    """Expected loss (count,) of the next value when `known`, `known` + 1, … are known: `curve` read off linearly in
    log(1 + known), made to fall only, and at its last slope beyond its end."""
    knots = torch.tensor(curve["known"], dtype=torch.float64).log1p()
    nats = torch.tensor(curve["nats"], dtype=torch.float64).cummin(0).values
    at = torch.arange(known, known + count, dtype=torch.float64).log1p().clamp(min=knots[0])
    if len(knots) == 1:
        return nats - SLOPE * at
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    return nats[right - 1] + share * (nats[right] - nats[right - 1]) - SLOPE * at


def block_sizes(num_queries: int, num_steps: int | None, curve: dict | None = None, known: int = 0) -> list[int]:
    """How many queries each step draws: `num_steps` positive sizes that sum to `num_queries`, or as many ones.

    Values of one block are drawn given what was known before the block. The sizes are those of the least expected
    loss, found by dynamic programming (Hoogeboom et al., Autoregressive Diffusion Models, ICLR 2022, §3).

    Args:
        num_steps (`int` or `None`): `None`: one query per step.
        curve (`dict` or `None`): "known" numbers of values and the loss in "nats" of the next one; `None`: a usual one.
        known (`int`): Values known at the start.
    """
    if num_steps is None or num_steps >= num_queries:
        return [1] * num_queries
    ends = _best_ends(num_queries, num_steps, _key(curve), known)[1][num_steps - 1]
    if not ends:  # more steps than ends of blocks are considered: about the same number in each
        size, larger = divmod(num_queries, num_steps)
        return [size] * (num_steps - larger) + [size + 1] * larger
    return [stop - start for start, stop in zip((0, *ends), ends, strict=False)]


def values_in_context(known: int, sizes: list[int], max_buffer_share: float) -> list[int]:
    """How many of the drawn values stand in the context, the others in the buffer, when each block is drawn and, last,
    after all.

    A buffer of more than `max_buffer_share` of all known values becomes context at once. Its tokens have not seen what
    came after them, which costs some hundredths of a bit where they are many, and the less the fewer they are.

    Args:
        known (`int`): Values known at the start.
    """
    held, drawn, counts = 0, 0, [0]
    for size in sizes:
        drawn += size
        if drawn - held > max_buffer_share * (known + drawn):
            held = drawn
        counts.append(held)
    return counts


def split_steps(counts: list[int], num_steps: int, curves: list[dict | None]) -> list[int]:
    """Steps of several levels of `counts` values, drawn one after another, of the least expected loss altogether.

    Each level gets one at least, even if `num_steps` are fewer.
    """
    spare = max(num_steps - len(counts), 0)
    best = torch.zeros(1, dtype=torch.float64)  # least loss of the levels so far with so many spare steps
    choices = []
    for count, curve in zip(counts, curves, strict=True):
        losses = _best_ends(count, min(count, 1 + spare), _key(curve), 0)[0]
        total = torch.full((min(len(best) + len(losses) - 1, spare + 1),), float("inf"), dtype=torch.float64)
        choice = torch.zeros(len(total), dtype=torch.long)
        for more, loss in enumerate(losses):
            candidate = best[: max(len(total) - more, 0)] + loss
            part = slice(more, more + len(candidate))
            better = candidate < total[part]
            total[part] = torch.where(better, candidate, total[part])
            choice[part] = torch.where(better, more, choice[part])
        best = total
        choices.append(choice)
    left = int(best.argmin())
    extra: list[int] = []
    for choice in reversed(choices):
        extra.insert(0, int(choice[left]))
        left -= extra[0]
    steps = [1 + more for more in extra]
    for level, count in reversed(list(enumerate(counts))):  # what a level could not use, see `block_sizes`
        steps[level] += max(min(num_steps - sum(steps), count - steps[level]), 0)
    return steps


def _key(curve: dict | None) -> tuple[tuple, tuple]:
    curve = curve or ASSUMED_LOSSES
    return tuple(curve["known"]), tuple(curve["nats"])


@lru_cache(maxsize=64)
def _best_ends(
    count: int, num_steps: int, curve: tuple[tuple, tuple], known: int
) -> tuple[list[float], list[tuple[int, ...]]]:
    """For 1 … `num_steps` blocks: the least loss, and the ends of the blocks (empty where there are too few blocks)."""
    losses = losses_at({"known": curve[0], "nats": curve[1]}, known, count)
    ends = torch.arange(count + 1)
    if count > FINE_ENDS:  # each number at first, where a value tells most; then ever larger steps
        fine = FINE_ENDS // 2
        rest = torch.logspace(0, 1, FINE_ENDS - fine, base=count / fine, dtype=torch.float64) * fine
        ends = torch.cat((ends[:fine], rest.round().long())).unique()
    size = (ends[:, None] - ends[None, :]).double()  # (stop, start)
    cost = size * torch.cat((losses, losses[-1:]))[ends][None, :]
    cost[size <= 0] = float("inf")
    best = torch.full((len(ends),), float("inf"), dtype=torch.float64)
    best[0] = 0.0
    totals, starts, solutions = [], [], []
    for _ in range(num_steps):
        best, start = (best[None, :] + cost).min(1)
        totals.append(best[-1].item())
        starts.append(start)
    for steps in range(1, num_steps + 1):
        if totals[steps - 1] == float("inf"):
            solutions.append(())
            continue
        stop, chain = len(ends) - 1, []
        for start in reversed(starts[:steps]):
            chain.append(int(ends[stop]))
            stop = int(start[stop])
        solutions.append(tuple(reversed(chain)))
    return totals, solutions
