"""Joint samples and likelihoods: what a caller asks for, checked, and turned into chains."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .chain import Evidence, draw_blocks, score_blocks, take
from .checks import check_given, check_places
from .coarse_to_fine import draw_levels, grid_at, score_levels
from .distribution import check_temperature
from .orders import block_sizes, random_orders, spread_orders

Order = Literal["random", "coarse-to-fine"]


@dataclass
class SampleState:
    """What is drawn after a step of `sample_iter`.

    Attributes:
        values (`Tensor` (S, B, Q, V)): Values drawn so far; NaN where none is yet.
        drawn (`Tensor` (S, B, Q)): True where a value is there.
        step, num_steps (`int`): Steps done, and steps in all.
        scale (`int`): Scale of what was drawn in this step; 0: queries.
        coarse (`Tensor` (S, B, cells, V) or `None`): While `scale` is above 0, the cells of that scale, in the order of
            `model.native_positions(coarse_grid)`; NaN where none is drawn yet.
        coarse_grid (`list[int]` or `None`): Their grid.
    """

    values: Tensor
    drawn: Tensor
    step: int
    num_steps: int
    scale: int = 0
    coarse: Tensor | None = None
    coarse_grid: list[int] | None = None


def _check_count(name: str, value: object, low: int, high: int | None = None) -> None:
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _check_order(order: Tensor, shapes: tuple[tuple[int, ...], ...]) -> Tensor:
    expected = " or ".join(str(shape) for shape in shapes)
    if not isinstance(order, Tensor) or tuple(order.shape) not in shapes:
        got = tuple(order.shape) if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order: expected shape {expected}, got {got}")
    count = order.shape[-1]
    if not torch.equal(order.sort(-1).values, torch.arange(count, device=order.device).expand_as(order)):
        raise ValueError(f"order: expected permutations of 0 … {count - 1}, got repeated or missing numbers")
    return order.expand(shapes[-1])


def _check_blocks(blocks: Tensor, count: int) -> None:
    if not isinstance(blocks, Tensor) or tuple(blocks.shape) != (count,):
        got = tuple(blocks.shape) if isinstance(blocks, Tensor) else type(blocks).__name__
        raise ValueError(f"blocks: expected shape (Q,) = ({count},), got {got}")
    if blocks[0] < 1 or (blocks.diff() < 0).any():
        raise ValueError("blocks: expected numbers from 1 on that never fall, got " + str(blocks.tolist()[:16]))


def _check_sampling(
    model, evidence: Evidence, query_positions, query_scales=None, num_drawn: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Check what sampling and joint likelihood share; returns queries and scales with the context's batch size.

    `num_drawn` of the queries become tokens (default: all).
    """
    check_places(model.config, "context", evidence.positions, evidence.values, evidence.mask, scales=evidence.scales)
    batch, known = evidence.positions.shape[:2]
    check_places(model.config, "query", query_positions, batch=batch, scales=query_scales)
    num_drawn = query_positions.shape[1] if num_drawn is None else num_drawn
    if known + num_drawn > model.config.max_tokens:
        raise ValueError(
            f"query_positions: expected context and drawn queries together at most {model.config.max_tokens} "
            f"(config.max_tokens, a guard for memory), got {known} + {num_drawn}"
            + ("; num_autoregressive draws fewer" if num_drawn == query_positions.shape[1] else "")
        )
    query_scales = None if query_scales is None else query_scales.expand(batch, -1)
    return query_positions.expand(batch, -1, -1), query_scales


def _check_coarse_to_fine(config, **unused) -> None:
    if config.num_scales == 1:
        raise ValueError('order: "coarse-to-fine" expected a model trained with scales, got one with num_scales 1')
    for name, value in unused.items():
        if value is not None:
            raise ValueError(f'{name}: expected None with order="coarse-to-fine", got {value!r:.60}')


def sample(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    num_samples: int = 1,
    num_steps: int | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    num_autoregressive: int | None = None,
    order: Order | Tensor | None = None,
    context_mask: Tensor | None = None,
    use_cache: bool = True,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
    finish: Literal["sample", "mean"] = "sample",
) -> Tensor:
    """Joint samples (num_samples, B, Q, V): the last state of `sample_iter`, whose arguments these are."""
    states = sample_iter(
        model,
        context_positions,
        context_values,
        query_positions,
        num_samples=num_samples,
        num_steps=num_steps,
        temperature=temperature,
        generator=generator,
        num_autoregressive=num_autoregressive,
        order=order,
        context_mask=context_mask,
        use_cache=use_cache,
        context_scales=context_scales,
        query_scales=query_scales,
        finish=finish,
    )
    return deque(states, maxlen=1).pop().values


def sample_iter(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    num_samples: int = 1,
    num_steps: int | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    num_autoregressive: int | None = None,
    order: Order | Tensor | None = None,
    context_mask: Tensor | None = None,
    use_cache: bool = True,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
    finish: Literal["sample", "mean"] = "sample",
) -> Iterator[SampleState]:
    """Draw joint samples by the chain rule, yielding the state after every step.

    Args:
        num_samples (`int`): S, samples per batch item.
        num_steps (`int` or `None`): Steps to spend; values drawn in the same step are drawn independently of each
            other. They lie far apart, and the steps are split where they tell most (`config.step_losses`). `None`: one
            value per step, which is exact.
        temperature (`float`): See `ValueDistribution.sample`.
        generator (`torch.Generator` or `None`): Source of all randomness, on the model's device.
        num_autoregressive (`int` or `None`): Draw this many values and fill the rest with their conditional mean in
            one further step (the paper's hybrid). `None`: draw all.
        order (`str`, `Tensor` (Q,) or (S, B, Q), or `None`): "random" or `None`: a fresh random order for each sample.
            "coarse-to-fine", with a model that has scales: averages over all cells of the first of
            `config.chain_scales`, then of each further one, then the queries; what is drawn inside a cell agrees with
            its average. A tensor: that order.
        use_cache (`bool`): False re-encodes everything at each step under the same masks: the paper's cost, the
            same numbers.
        context_scales (`Tensor` (B, K)), query_scales (`Tensor` (B, Q)): See `PixelTransformerModel.forward`.
        finish (`str`): From coarse to fine, "sample" draws the queries and "mean" takes their mean, given the cells of
            the scale before.

    Yields:
        `SampleState`, whose tensors are overwritten by the next step.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    evidence = Evidence(context_positions, context_values, context_mask, context_scales)
    if num_autoregressive is not None:
        _check_count("num_autoregressive", num_autoregressive, 0)
    levels = isinstance(order, str) and order == "coarse-to-fine"
    if isinstance(order, str) and order not in ("random", "coarse-to-fine"):
        raise ValueError(f'order: expected "random", "coarse-to-fine" or a tensor, got {order!r}')
    if finish not in ("sample", "mean") or (finish == "mean" and not levels):
        raise ValueError(f'finish: expected "sample", or "mean" with order="coarse-to-fine", got {finish!r}')
    if levels:
        _check_coarse_to_fine(model.config, num_autoregressive=num_autoregressive, query_scales=query_scales)
    num_drawn = num_autoregressive
    if levels and isinstance(query_positions, Tensor):  # queries stand beside the cells of the scale before
        asked = query_positions.shape[-2] if query_positions.dim() > 1 else 0
        before = math.prod(grid_at(model.config, model.config.chain[-2]))
        num_drawn = before + (0 if finish == "mean" else asked)
    query_positions, query_scales = _check_sampling(model, evidence, query_positions, query_scales, num_drawn)
    batch, count = query_positions.shape[:2]
    _check_count("num_samples", num_samples, 1)
    if num_steps is not None:
        _check_count("num_steps", num_steps, 1)
    if num_autoregressive is not None:
        _check_count("num_autoregressive", num_autoregressive, 0, count)
    check_temperature(temperature)
    if levels:
        return _coarse_to_fine(
            model, evidence, query_positions, num_samples, num_steps, temperature, generator, use_cache, finish
        )
    if isinstance(order, Tensor):
        order = _check_order(order, ((count,), (num_samples, batch, count)))
    elif num_steps is None:
        order = random_orders((num_samples, batch), count, query_positions.device, generator)
    else:
        order = spread_orders(query_positions.repeat(num_samples, 1, 1), generator)
    to_draw = count if num_autoregressive is None else num_autoregressive
    curve = (model.config.step_losses or {}).get("random")
    sizes = block_sizes(to_draw, num_steps, curve, evidence.count()) if to_draw else []
    return _one_scale(
        model,
        evidence,
        (query_positions, query_scales),
        order.reshape(-1, count),
        sizes,
        temperature,
        generator,
        use_cache,
    )


@torch.no_grad()
def _one_scale(
    model,
    evidence: Evidence,
    queries: tuple[Tensor, Tensor | None],
    order: Tensor,
    sizes: list[int],
    temperature: float,
    generator: torch.Generator | None,
    use_cache: bool,
) -> Iterator[SampleState]:
    """Values at the queries (B, Q, P) in the order (S × B, Q), as many as `sizes` say; the rest is their mean."""
    batch, count = queries[0].shape[:2]
    rows, channels, device = len(order), model.config.value_dim, order.device
    times, drawn_count = rows // batch, sum(sizes)
    positions = take(queries[0].repeat(times, 1, 1), order)  # (rows, Q, P), in the order of drawing
    scales = None if queries[1] is None else take(queries[1].repeat(times, 1), order)
    values = torch.full((rows, count, channels), float("nan"), device=device)
    drawn = torch.zeros(rows, count, dtype=torch.bool, device=device)
    num_steps, step = len(sizes) + (drawn_count < count), 0

    def state() -> SampleState:
        shape = (times, batch, count)
        return SampleState(values.view(*shape, channels), drawn.view(shape), step, num_steps)

    def fill(memory) -> None:
        rest = positions[:, drawn_count:], None if scales is None else scales[:, drawn_count:]
        mean = model.predict_from(memory, rest[0], query_scales=rest[1], reduce=lambda d: d.mean)
        values.scatter_(1, order[:, drawn_count:, None].expand(-1, -1, channels), mean)

    blocks = draw_blocks(
        model,
        evidence,
        positions,
        scales,
        sizes,
        temperature,
        generator,
        use_cache,
        finish=fill if drawn_count < count else None,
    )
    for start, stop, block in blocks:
        step += 1
        values.scatter_(1, order[:, start:stop, None].expand(-1, -1, channels), block)
        drawn.scatter_(1, order[:, start:stop], True)
        yield state()
    if drawn_count < count:
        step += 1
        drawn.fill_(True)
        yield state()


def _coarse_to_fine(
    model,
    evidence: Evidence,
    query_positions: Tensor,
    num_samples: int,
    num_steps: int | None,
    temperature: float,
    generator: torch.Generator | None,
    use_cache: bool,
    finish: str,
) -> Iterator[SampleState]:
    batch, count = query_positions.shape[:2]
    shape = (num_samples, batch, count)
    values = torch.full((*shape, model.config.value_dim), float("nan"), device=query_positions.device)
    drawn = torch.zeros(shape, dtype=torch.bool, device=values.device)
    for step, total, scale, part, there in draw_levels(
        model, evidence, query_positions, num_samples, num_steps, temperature, generator, use_cache, finish
    ):
        if scale == 0:
            yield SampleState(part.view_as(values), there.view(shape), step, total)
        else:
            coarse = part.view(num_samples, batch, *part.shape[1:])
            yield SampleState(values, drawn, step, total, scale, coarse, grid_at(model.config, scale))


@torch.no_grad()
def joint_log_prob(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    query_values: Tensor,
    order: Order | Tensor | None = None,
    generator: torch.Generator | None = None,
    context_mask: Tensor | None = None,
    blocks: Tensor | None = None,
    chunk_size: int = 1024,
    num_steps: int | None = None,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
) -> Tensor:
    """Joint log-likelihood (B,) of the query values given the context, in nats, by the chain rule.

    Args:
        order (`str`, `Tensor` (Q,) or (B, Q), or `None`): The order of the chain, see `sample_iter`; `None`: a random
            one per item. "coarse-to-fine" scores the averages over coarser cells too, which the values determine: what
            the chain tells is never more likely than the values are. Context and queries must then be all native cells.
        blocks (`Tensor` (Q,) or `None`): Block of the first, second, … value of the order, rising from 1: values of
            one block are scored independently. `None`: as `num_steps` says.
        num_steps (`int` or `None`): Score the blocks that `sample(num_steps=…)` draws; `None`: blocks of one, which is
            exact.
        chunk_size (`int`): Values encoded at a time, about: memory grows linearly with Q.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    evidence = Evidence(context_positions, context_values, context_mask, context_scales)
    query_positions, query_scales = _check_sampling(model, evidence, query_positions, query_scales)
    check_given("query_values", query_values)
    check_places(model.config, "query", query_positions, query_values, batch=context_positions.shape[0])
    batch, count = query_positions.shape[:2]
    _check_count("chunk_size", chunk_size, 1)
    if num_steps is not None:
        _check_count("num_steps", num_steps, 1)
        if blocks is not None:
            raise ValueError("blocks: expected None with num_steps, which decides them, got both")
    if isinstance(order, str) and order not in ("random", "coarse-to-fine"):
        raise ValueError(f'order: expected "random", "coarse-to-fine" or a tensor, got {order!r}')
    if isinstance(order, str) and order == "coarse-to-fine":
        _check_coarse_to_fine(model.config, blocks=blocks, query_scales=query_scales)
        scores = score_levels(model, evidence, query_positions, query_values, num_steps, generator, chunk_size)
        return torch.stack(list(scores.values())).sum(0)
    if isinstance(order, Tensor):
        order = _check_order(order, ((count,), (batch, count)))
    elif num_steps is None:
        order = random_orders((batch,), count, query_positions.device, generator)
    else:
        order = spread_orders(query_positions, generator)
    if blocks is not None:
        _check_blocks(blocks, count)
    else:
        curve = (model.config.step_losses or {}).get("random")
        sizes = torch.tensor(block_sizes(count, num_steps, curve, evidence.count()))
        blocks = torch.repeat_interleave(torch.arange(1, len(sizes) + 1), sizes).to(query_positions.device)
    positions, values = take(query_positions, order), take(query_values, order)
    return score_blocks(model, evidence, positions, values, take(query_scales, order), blocks, chunk_size).sum(1)
