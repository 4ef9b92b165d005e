"""Orders are permutations that spread, and blocks and steps are split at the least expected loss."""

import itertools

import pytest
import torch

from pixeltransformer.coarse_to_fine import sibling_order
from pixeltransformer.orders import (
    ORDERS,
    block_sizes,
    losses_at,
    renewals,
    split_steps,
    spread_order,
    values_in_context,
)
from pixeltransformer.streams import Streams

CURVE = {"known": [0, 2, 5, 9], "nats": [3.0, 1.0, 0.6, 0.5]}


def streams(seed: int = 0, rows: int = 1) -> Streams:
    return Streams.of(torch.Generator().manual_seed(seed), rows)


def grid(side: int) -> torch.Tensor:
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(1, -1, 2)


def expected_loss(sizes, curve=CURVE, known: int = 0) -> float:
    losses, total, start = losses_at(curve, known, sum(sizes)), 0.0, 0
    for size in sizes:
        total += size * losses[start].item()
        start += size
    return total


def compositions(count: int, parts: int):
    for cuts in itertools.combinations(range(1, count), parts - 1):
        ends = (0, *cuts, count)
        yield [stop - start for start, stop in zip(ends, ends[1:], strict=False)]


@pytest.mark.parametrize("positions", [grid(8), grid(7), torch.rand(3, 50, 3) * 2 - 1, torch.zeros(2, 5, 1)])
@pytest.mark.parametrize("name", ORDERS)
def test_orders_are_permutations_that_differ_by_row_if_at_all(positions, name):
    rows, count = positions.shape[:2]
    order = ORDERS[name](positions, streams(rows=rows))
    assert torch.equal(order.sort(-1).values, torch.arange(count).expand(rows, -1))
    again = ORDERS[name](positions, streams(rows=rows))
    assert torch.equal(order, again)


def test_a_raster_order_goes_row_by_row():
    y, x = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    positions = torch.stack((x, y), -1).reshape(1, -1, 2) / 2 - 0.9
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    order = ORDERS["raster"](positions[:, shuffled], streams())
    assert torch.equal(shuffled[order[0]], torch.arange(12))


@pytest.mark.parametrize("share", [0.04, 0.25, 1.0])
def test_renewals_are_where_more_becomes_context(share):
    held = values_in_context(5, [1] * 60, share)
    assert list(renewals(5, 60, share)) == sorted(set(held) - {0})


def test_renewals_are_planned_from_the_end():
    """Each is as early as the next one allows: of all plans that keep to the share, none encodes fewer values again."""
    for known, count, share in ((0, 9, 0.4), (2, 10, 0.3), (5, 8, 0.25)):
        fewest = min(
            sum(known + drawn for drawn in plan)
            for size in range(count + 1)
            for plan in itertools.combinations(range(1, count + 1), size)
            if keeps_to(plan, known, count, share)
        )
        assert sum(known + drawn for drawn in renewals(known, count, share)) == fewest


def keeps_to(plan: tuple[int, ...], known: int, count: int, share: float) -> bool:
    held = [max([drawn for drawn in plan if drawn <= there], default=0) for there in range(count + 1)]
    return all(there - since <= share * (known + there) for there, since in enumerate(held))


def test_stretches_of_a_spread_order_are_lattices():
    positions = grid(32)
    for seed in range(3):
        order = spread_order(positions, streams(seed))[0]
        for start in (0, 16, 64):
            stretch = positions[0, order[start : start + 16]]
            distance = torch.cdist(stretch, stretch).fill_diagonal_(9).min(1).values
            assert torch.allclose(distance, torch.full((16,), 0.5), atol=1e-5)


def test_seeds_give_different_spread_orders():
    orders = {tuple(spread_order(grid(8), streams(seed))[0].tolist()) for seed in range(8)}
    assert len(orders) > 4


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("known", [0, 3])
def test_blocks_have_the_least_expected_loss(steps, known):
    sizes = block_sizes(9, steps, CURVE, known)
    assert sum(sizes) == 9 and len(sizes) == steps
    best = min(expected_loss(other, known=known) for other in compositions(9, steps))
    assert expected_loss(sizes, known=known) == pytest.approx(best)


@pytest.mark.parametrize("count", [1, 3000, 5000])
def test_blocks_of_any_number_of_values_sum_to_it(count):
    sizes = block_sizes(count, 40)
    assert sum(sizes) == count and min(sizes) >= 1 and len(sizes) == min(count, 40)


@pytest.mark.parametrize("steps", [1023, 1024, 1500, 2000, 2500])
def test_more_steps_than_ends_of_blocks_are_considered(steps):
    sizes = block_sizes(2000, steps)
    assert sum(sizes) == 2000 and len(sizes) == min(steps, 2000) and min(sizes) >= 1
    assert sum(split_steps([64, 2000], steps, [None, None])) == min(steps, 2064)


@pytest.mark.parametrize(
    ("curve", "known"), [(CURVE, 0), (CURVE, 500), (None, 5000), ({"known": [0], "nats": [1.0]}, 0)]
)
def test_what_lies_beyond_a_curve_is_not_one_block(curve, known):
    assert max(block_sizes(4000, 64, curve, known)) < 800


def test_steps_are_split_over_levels_at_the_least_expected_loss():
    curves = [CURVE, {"known": [0, 3], "nats": [0.5, 0.4]}, None]
    counts, total = [4, 6, 5], 8

    def loss(steps):
        return sum(
            expected_loss(block_sizes(count, step, curve), curve)
            for count, step, curve in zip(counts[:2], steps, curves[:2], strict=False)
        ) + expected_loss(block_sizes(5, steps[2], USUAL), USUAL)

    from pixeltransformer.orders import ASSUMED_LOSSES as USUAL

    steps = split_steps(counts, total, curves)
    options = (part for part in itertools.product(range(1, 5), range(1, 7), range(1, 6)) if sum(part) == total)
    assert sum(steps) == total
    assert loss(steps) == pytest.approx(min(map(loss, options)))
    assert split_steps([16, 64, 256], 2, [None] * 3) == [1, 1, 1]


def test_siblings_stand_a_whole_round_apart():
    parents = (torch.arange(64) // 16 * 4 + torch.arange(64) % 8 // 2).expand(2, -1)  # cells of 2×2 in 8×8
    order = sibling_order(parents, grid(4).expand(2, -1, -1), streams(rows=2))
    rounds = parents.gather(1, order).view(2, 4, 16)
    assert torch.equal(rounds.sort(-1).values, torch.arange(16).expand(2, 4, 16))
    assert torch.equal(rounds[:, 0], rounds[:, 3])
