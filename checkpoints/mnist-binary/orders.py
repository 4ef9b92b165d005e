"""The order in which values are drawn, and how many per pass: plain functions, independent of the network."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .streams import Streams

MORTON_BITS = 10  # per axis: positions are sorted along a Morton curve with 1,024 coordinates on each axis
# Smallest fall of a loss curve, in nats per unit of log(1 + known): where a curve is flat, blocks are of equal size.
SLOPE = 1e-4
ALL_BOUNDARIES = 1024  # beyond this many values, candidate block boundaries are spaced logarithmically

# Loss of the next value by the number of known values, for checkpoints that have not measured it.
ASSUMED_LOSSES = {"known": [0, 1, 4, 16, 64, 256, 1024, 4096], "nats": [1.0, 0.97, 0.92, 0.84, 0.74, 0.64, 0.56, 0.5]}


def random_order(positions: Tensor, streams: Streams) -> Tensor:
    """Independent uniformly random permutations (N, Q) of positions (N, Q, P)."""
    return streams.of_order(positions.shape[1]).argsort(-1).to(positions.device)


def spread_order(positions: Tensor, streams: Streams) -> Tensor:
    """Random permutations (N, Q) of positions (N, Q, P) in which each stretch of the order covers space evenly.

    Positions are numbered along a Morton curve, on which neighbours are close in space. The order visits these numbers
    as a van der Corput sequence does: in bit-reversed order, with a random XOR. Successive positions are far apart.
    On a square grid with a power of 2 as its side, positions n 4^k to (n + 1) 4^k - 1 of the order form a lattice.
    """
    batch, count, axes = positions.shape
    device = positions.device
    cells = ((positions + 1) * 2 ** (MORTON_BITS - 1)).long().clamp(0, 2**MORTON_BITS - 1)
    code = torch.zeros(batch, count, dtype=torch.long, device=device)
    for bit in range(MORTON_BITS):
        for axis in range(axes):
            code |= ((cells[..., axis] >> bit) & 1) << (bit * axes + axis)
    along = code.argsort(dim=-1, stable=True)  # indices of the positions along the curve
    bits = max(1, (count - 1).bit_length())
    shift = (streams.of_order(1) * 2**bits).long().to(device)
    number = (torch.arange(count, device=device) * 2**bits // count) ^ shift
    key = torch.zeros_like(number)
    for bit in range(bits):  # reverse the digits: neighbours on the curve get distant keys
        key |= ((number >> (bits - 1 - bit)) & 1) << bit
    return along.gather(1, key.argsort(-1))


def raster_order(positions: Tensor, streams: Streams) -> Tensor:
    """Permutations (N, Q) of positions (N, Q, P) row by row: the last coordinate changes slowest. Not random."""
    order = torch.arange(positions.shape[1], device=positions.device).expand(positions.shape[:2])
    for coordinate in positions.unbind(-1):  # a stable sort by each, the most significant one last
        order = order.gather(1, coordinate.gather(1, order).argsort(dim=-1, stable=True))
    return order


# Orders by name. Each function returns permutations (N, Q) of positions (N, Q, P); `streams` has the random numbers of
# the N rows. Coordinates go from the axis that runs fastest to the slowest.
ORDERS: dict[str, Callable[[Tensor, Streams], Tensor]] = {
    "random": random_order,
    "spread": spread_order,
    "raster": raster_order,
}
DEFAULT_ORDER = "spread"  # gives higher likelihoods than "random", and takes fewer rounds


def losses_at(curve: dict, known: int, count: int) -> Tensor:
    """Expected loss (count,) of the next value when `known`, `known` + 1, … values are known.

    The curve is interpolated linearly in log(1 + known) and extended with its last slope. Where it rises, its minimum
    so far is taken.
    """
    knots = torch.tensor(curve["known"], dtype=torch.float64).log1p()
    nats = torch.tensor(curve["nats"], dtype=torch.float64).cummin(0).values
    at = torch.arange(known, known + count, dtype=torch.float64).log1p().clamp(min=knots[0])
    if len(knots) == 1:
        return nats - SLOPE * at
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    return nats[right - 1] + share * (nats[right] - nats[right - 1]) - SLOPE * at


def block_sizes(num_queries: int, num_steps: int | None, curve: dict | None = None, known: int = 0) -> list[int]:
    """Number of queries that each pass draws: `num_steps` positive sizes that sum to `num_queries`.

    The values of a block are drawn independently of each other, given what was known before it. Dynamic programming
    finds the sizes with the smallest expected loss (Hoogeboom et al., Autoregressive Diffusion Models, ICLR 2022, §3).

    Args:
        num_steps (`int` or `None`): Number of passes; `None`: one query per pass.
        curve (`dict` or `None`): Lists under "known" (numbers of known values) and "nats" (loss of the next value);
            `None`: a typical curve.
        known (`int`): Number of values known at the start.
    """
    if num_steps is None or num_steps >= num_queries:
        return [1] * num_queries
    plans = best_plans(num_queries, num_steps, _key(curve), known)
    if len(plans) < num_steps:  # more passes than candidate boundaries: blocks of nearly equal size
        size, larger = divmod(num_queries, num_steps)
        return [size] * (num_steps - larger) + [size + 1] * larger
    return list(plans[num_steps - 1].sizes)


def values_in_context(known: int, sizes: list[int], max_buffer_share: float) -> list[int]:
    """Number of drawn values that are context (the others are buffer): before each block, and after the last one.

    The buffer never holds more than `max_buffer_share` of all known values, because buffer tokens do not see the values
    after them: a large buffer costs some hundredths of a bit per dimension. Before it would, all of it becomes context.
    These renewals are planned from the end, each as early as the next one allows: those of many values cost most, and
    are then as few and as early as can be.

    Args:
        known (`int`): Number of values known at the start.
        sizes (`list[int]`): Number of values in each block.
    """
    drawn = [0, *itertools.accumulate(sizes)]
    counts, last = [0] * len(drawn), len(drawn) - 1
    while drawn[last] > max_buffer_share * (known + drawn[last]):
        fewest = drawn[last] - max_buffer_share * (known + drawn[last])
        first = bisect_left(drawn, fewest)
        counts[first : last + 1] = [drawn[first]] * (last + 1 - first)
        last = first - 1
    return counts


@lru_cache(maxsize=64)
def renewals(known: int, count: int, max_buffer_share: float) -> tuple[int, ...]:
    """Numbers of drawn values, increasing up to `count`, at which the buffer becomes context.

    For values that are drawn one at a time; see `values_in_context`.
    """
    held = values_in_context(known, [1] * count, max_buffer_share)
    return tuple(drawn for drawn, context in enumerate(held) if drawn and context == drawn)


def split_steps(counts: list[int], num_steps: int, curves: list[dict | None]) -> list[int]:
    """Divide `num_steps` passes among several scales so that their total expected loss is smallest.

    Args:
        counts (`list[int]`): Number of values of each scale, in the order of drawing.
        curves (`list`): Loss curve of each scale, see `block_sizes`.

    Returns:
        Number of passes for each scale: at least one each, even if `num_steps` is smaller than the number of scales.
    """
    spare = max(num_steps - len(counts), 0)
    best = torch.zeros(1, dtype=torch.float64)  # best[n]: smallest loss of the scales so far with n spare passes
    choices = []
    for count, curve in zip(counts, curves, strict=True):
        losses = [plan.loss for plan in best_plans(count, min(count, 1 + spare), _key(curve), 0)]
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
    for level, count in reversed(list(enumerate(counts))):  # passes left over, see the end of `block_sizes`
        steps[level] += max(min(num_steps - sum(steps), count - steps[level]), 0)
    return steps


def _key(curve: dict | None) -> tuple[tuple, tuple]:
    curve = curve or ASSUMED_LOSSES
    return tuple(curve["known"]), tuple(curve["nats"])


class Plan(NamedTuple):
    """The best way to spend a number of passes: its expected loss in nats, and how many values each pass draws."""

    loss: float
    sizes: tuple[int, ...]


def best_plans(count: int, num_steps: int, curve: tuple[tuple, tuple], known: int) -> list[Plan]:
    """The best plans for drawing `count` values in 1, 2, …, `num_steps` passes.

    They end where the candidate boundaries of blocks do not allow more passes.
    """
    return _plans(count, min(num_steps, len(_boundaries(count)) - 1), curve, known)


@lru_cache(maxsize=64)
def _plans(count: int, num_steps: int, curve: tuple[tuple, tuple], known: int) -> list[Plan]:
    """As `best_plans`, for no more passes than boundaries allow.

    Let L(n, e) be the smallest loss of drawing the first e values in n blocks. A block from s to e is drawn given the
    values before s, so each of its values costs loss(s):

        L(n, e) = min over s < e of L(n - 1, s) + (e - s) loss(s),   L(0, 0) = 0.
    """
    ends = _boundaries(count)
    loss = losses_at({"known": curve[0], "nats": curve[1]}, known, count + 1)[ends]
    size = (ends[:, None] - ends[None, :]).double()  # (end, start)
    cost = torch.where(size > 0, size * loss[None, :], math.inf)[1:]
    least = torch.full((len(ends),), math.inf, dtype=torch.float64)
    least[0] = 0.0  # of no block
    plans: list[Plan] = []
    starts: list[list[int]] = []
    for blocks in range(1, num_steps + 1):
        # So many blocks end at boundary `blocks` at the earliest, and the last one starts at the one before it.
        least, start = (least[None, :] + cost).min(1)
        starts.append([0] * blocks + (start + blocks - 1).tolist())
        plans.append(Plan(least[-1].item(), _sizes(ends.tolist(), starts)))
        cost = cost[1:, 1:]
    return plans


def _boundaries(count: int) -> Tensor:
    """Candidate block boundaries, increasing from 0 to `count`.

    All of them at first, where each value changes the loss most; logarithmically spaced ones after that.
    """
    ends = torch.arange(count + 1)
    if count <= ALL_BOUNDARIES:
        return ends
    fine = ALL_BOUNDARIES // 2
    coarse = torch.logspace(0, 1, ALL_BOUNDARIES - fine, base=count / fine, dtype=torch.float64) * fine
    return torch.cat((ends[:fine], coarse.round().long())).unique()


def _sizes(ends: list[int], starts: list[list[int]]) -> tuple[int, ...]:
    """Sizes of the blocks up to the last boundary, found by going back from each block's end to its best start."""
    stop, sizes = len(ends) - 1, []
    for start in reversed(starts):
        sizes.append(ends[stop] - ends[start[stop]])
        stop = start[stop]
    return tuple(reversed(sizes))
