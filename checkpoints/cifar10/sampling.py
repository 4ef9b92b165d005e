"""Joint samples and likelihoods: checks the arguments of `sample` and `log_prob` and runs the chains."""

import inspect
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from .chain import Chain, score_blocks
from .checks import (
    COARSE_TO_FINE,
    SamplingOptions,
    check_blocks,
    check_count,
    check_given,
    check_inputs,
    check_order,
)
from .coarse_to_fine import draw_scales, grid_at, score_scales
from .context import Context, take
from .distribution import check_temperature
from .orders import DEFAULT_ORDER, ORDERS, block_sizes
from .speculative import draw, spare
from .streams import Generators, Streams

Order = Literal["random", "spread", "raster", "coarse-to-fine"]


@dataclass
class SampleState:
    """State of the samples after a pass of `sample_iter`: S samples of B items with Q queries.

    A state stays what it was while later values are drawn. Its tensors are made when they are asked for.

    Attributes:
        step (`int`): Number of passes done; a round of drafts and their verification counts as one.
        num_steps (`int` or `None`): Total number of passes; `None` if it depends on what will be drawn.
        share (`float`): Share of the work that is done, from 0 to 1.
        scale (`int`): Scale of the values drawn in this pass; 0 for the queries.
        coarse_grid (`list[int]` or `None`): Grid of the cells of that scale while `scale` is above 0.
    """

    step: int
    num_steps: int | None
    share: float
    scale: int
    coarse_grid: list[int] | None
    shape: tuple[int, int, int, int]  # (S, B, Q, V)
    so_far: Callable[
        [], tuple[Tensor, Tensor]
    ]  # values and which were drawn, of this scale, (S × B, L, V) and (S × B, L)

    @property
    def values(self) -> Tensor:
        """Values (S, B, Q, V) drawn so far; NaN where none is drawn yet."""
        values = _ordinary(self.so_far()[0])
        return values.new_full(self.shape, torch.nan) if self.scale else values.view(self.shape)

    @property
    def drawn(self) -> Tensor:
        """Mask (S, B, Q), True where a value is drawn."""
        drawn = _ordinary(self.so_far()[1])
        return drawn.new_zeros(self.shape[:3]) if self.scale else drawn.view(self.shape[:3])

    @property
    def coarse(self) -> Tensor | None:
        """Averages (S, B, cells, V) of the current scale while `scale` is above 0; NaN where none is drawn yet.

        The cells have the order of `model.native_positions(coarse_grid)`.
        """
        if not self.scale:
            return None
        cells = _ordinary(self.so_far()[0])
        return cells.view(*self.shape[:2], *cells.shape[1:])


def _ordinary(x: Tensor) -> Tensor:
    """A tensor that may be changed in place and used in training, which one made in inference mode may not."""
    return x.clone() if x.is_inference() else x


def sample_iter(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    num_samples: int = 1,
    num_steps: int | None = None,
    temperature: float = 1.0,
    generator: Generators = None,
    num_autoregressive: int | None = None,
    order: Order | Tensor | None = None,
    context_mask: Tensor | None = None,
    use_cache: bool = True,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
    finish: Literal["sample", "mean"] = "sample",
    method: Literal["speculative", "one-by-one"] = "speculative",
) -> Iterator[SampleState]:
    """Draw joint samples by the chain rule; yields the state after each pass.

    Args:
        num_samples (`int`): S, number of samples of each item.
        num_steps (`int` or `None`): `None` samples exactly from the distribution that `log_prob` scores. An integer
            samples in that many passes. Values drawn in the same pass are independent of each other. The block sizes
            minimise the expected loss (`config.step_losses`); `log_prob(num_steps=…)` gives the resulting likelihood.
        temperature (`float`): See `ValueDistribution.sample`.
        generator (`torch.Generator`, a list with one for each item, or `None`): Source of all randomness. Sample s of
            item i has random numbers of its own, which depend on the generator's state, on i and on s, and neither on
            the other items nor on the number of samples. With a list they do not depend on i either.
        num_autoregressive (`int` or `None`): Draw this many values and fill the rest with their conditional mean in
            one more pass (the paper's hybrid). `None`: draw all.
        order (`str`, `Tensor` (Q,) or (S, B, Q), or `None`): Order of drawing, one of
            - "spread" (also `None`): random, with every stretch of the order spread evenly over the queries;
            - "random": uniformly random;
            - "raster": row by row;
            - "coarse-to-fine", for models with scales: averages over the cells of each scale of `config.chain_scales`,
              the largest cells first, then the queries. Values drawn inside a cell agree with the cell's average, and
              observed averages over cells of these scales are kept;
            - a tensor: this permutation.
        use_cache (`bool`): `False` encodes everything again in each pass, under the same masks: the cost of the paper's
            method, with the same result.
        context_scales (`Tensor` (B, K)), query_scales (`Tensor` (B, Q)): See `PixelTransformerModel.forward`.
        finish (`str`): With order "coarse-to-fine", "sample" draws the queries; "mean" takes their mean given the
            averages of the last scale before them.
        method (`str`): With `num_steps=None`, "speculative" drafts and verifies many values per pass; "one-by-one", its
            reference, draws one value per pass. Both sample from the same distribution.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    check_temperature(temperature)
    options = SamplingOptions(
        num_samples=num_samples,
        num_steps=num_steps,
        temperature=temperature,
        num_autoregressive=num_autoregressive,
        order=DEFAULT_ORDER if order is None else order,
        method=method,
        use_cache=use_cache,
        finish=finish,
    )
    context = Context(context_positions, context_values, context_mask, context_scales)
    num_drawn = _tokens(model.config, options, query_positions)
    query_positions, query_scales = _check_chain(model, context, query_positions, query_scales, num_drawn)
    batch, count = query_positions.shape[:2]
    check_order(options.order, ((count,), (num_samples, batch, count)))
    if num_autoregressive is not None:
        check_count("num_autoregressive", num_autoregressive, 0, count)
    if options.coarse_to_fine:
        _check_coarse_to_fine(model.config, num_autoregressive=num_autoregressive, query_scales=query_scales)
    streams = Streams.of(generator, batch, num_samples)
    if options.coarse_to_fine:
        return _coarse_to_fine(model, context, query_positions, streams, options)
    return _one_scale(model, context, query_positions, query_scales, streams, options)


def sample(model, *inputs, **options) -> Tensor:
    """Joint samples (num_samples, B, Q, V): the last state of `sample_iter`, whose arguments these are."""
    return deque(sample_iter(model, *inputs, **options), maxlen=1).pop().values


sample.__signature__ = inspect.signature(sample_iter).replace(return_annotation=Tensor)


def _tokens(config, options: SamplingOptions, query_positions: Tensor) -> int | None:
    """Number of values that are encoded in addition to the context; `None`: all queries."""
    if not options.coarse_to_fine:
        return options.num_autoregressive
    if not isinstance(query_positions, Tensor) or query_positions.dim() < 2:
        return None
    before = math.prod(grid_at(config, config.chain[-2])) if config.num_scales > 1 else 0
    return before + (0 if options.finish == "mean" else query_positions.shape[-2])


def _check_chain(
    model, context: Context, query_positions, query_scales=None, num_drawn: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Check the arguments that sampling and joint likelihood share.

    Args:
        num_drawn (`int` or `None`): Number of queries that become tokens; `None`: all.

    Returns:
        Queries and scales, expanded to the context's batch size.
    """
    check_inputs(model.config, "context", context.positions, context.values, context.mask, scales=context.scales)
    batch, known = context.positions.shape[:2]
    check_inputs(model.config, "query", query_positions, batch=batch, scales=query_scales)
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
        raise ValueError(f'order: "{COARSE_TO_FINE}" expected a model trained with scales, got one with num_scales 1')
    for name, value in unused.items():
        if value is not None:
            raise ValueError(f'{name}: expected None with order="{COARSE_TO_FINE}", got {value!r:.60}')


def _permutations(config, order: str | Tensor, positions: Tensor, streams: Streams) -> Tensor:
    """Permutations (N, Q) of positions (N, Q, P) for an order: a name, or a tensor (Q,) or (…, Q)."""
    if isinstance(order, Tensor):
        return order.expand(positions.shape[:2]) if order.dim() == 1 else order.reshape(positions.shape[:2])
    return ORDERS[order](positions[..., config.axes_slowest_first[::-1]], streams)


def _blocks(config, count: int, num_steps: int | None, known: list[int]) -> list[list[int]]:
    """Block sizes for `count` values, for each item; they depend on how many values the item knows (`known`)."""
    curve = (config.step_losses or {}).get("random")
    return [block_sizes(count, num_steps, curve, number) if count else [] for number in known]


@torch.inference_mode()  # its operations cost less than those under `no_grad`, and a chain has thousands of small ones
def _one_scale(
    model,
    context: Context,
    query_positions: Tensor,
    query_scales: Tensor | None,
    streams: Streams,
    options: SamplingOptions,
) -> Iterator[SampleState]:
    """Draw values at the queries (B, Q, P) in one chain, as many as the options say; fill the rest with their mean."""
    config, times = model.config, options.num_samples
    shape = (times, *query_positions.shape[:2], config.value_dim)
    count = shape[2]
    drawn = count if options.num_autoregressive is None else options.num_autoregressive
    positions = query_positions.repeat(times, 1, 1)
    order = _permutations(config, options.order, positions, streams)
    positions = take(positions, order)
    scales = None if query_scales is None else take(query_scales.repeat(times, 1), order)
    sizes = None
    if options.num_steps is not None or options.method == "one-by-one":
        sizes = _blocks(config, drawn, options.num_steps, context.counts()) * times
    num_steps = None if sizes is None else len(sizes[0]) + (drawn < count)
    chain = Chain(model, context, positions, scales, [drawn] * len(order), spare(sizes, drawn))
    back = order.argsort(-1)

    def after(counts: list[int], rest: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values, there = chain.after(counts, count)
        if rest is not None:
            values, there = torch.cat((values[:, :drawn], rest), 1), torch.ones_like(there)
        return take(values, back), take(there, back)

    step = 0
    for _ in draw(chain, sizes, streams, options, complete=drawn < count):
        step += 1
        share = sum(chain.drawn) / (drawn * len(order)) if num_steps is None else step / num_steps
        yield SampleState(step, num_steps, share, 0, None, shape, partial(after, chain.drawn))
    if drawn < count:
        memory = chain.memory_of_all()
        rest = model.predict_from(
            memory, positions[:, drawn:], query_scales=None if scales is None else scales[:, drawn:], reduce=_mean
        )
        yield SampleState(step + 1, num_steps, 1.0, 0, None, shape, partial(after, chain.drawn, rest))


def _mean(distribution) -> Tensor:
    return distribution.mean


def _coarse_to_fine(
    model, context: Context, query_positions: Tensor, streams: Streams, options: SamplingOptions
) -> Iterator[SampleState]:
    shape = (options.num_samples, *query_positions.shape[:2], model.config.value_dim)
    passes = draw_scales(model, context, query_positions, streams, options)
    for step, (num_steps, share, scale, so_far) in enumerate(passes, 1):
        grid = grid_at(model.config, scale) if scale else None
        yield SampleState(step, num_steps, share, scale, grid, shape, so_far)


@torch.no_grad()
def joint_log_prob(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    query_values: Tensor,
    order: Order | Tensor | None = None,
    generator: Generators = None,
    context_mask: Tensor | None = None,
    blocks: Tensor | None = None,
    chunk_size: int = 1024,
    num_steps: int | None = None,
    context_scales: Tensor | None = None,
    query_scales: Tensor | None = None,
) -> Tensor:
    """Joint log-likelihood (B,) of the query values given the context, in nats, by the chain rule.

    Args:
        order (`str`, `Tensor` (Q,) or (B, Q), or `None`): Order of the chain rule, see `sample_iter`; `None`: "spread".
            "coarse-to-fine" also scores the averages over larger cells. The values determine these averages, so the
            result is at most the log-likelihood of the values. Context and queries together must then be all native
            cells.
        generator (`torch.Generator`, a list of them, or `None`): Source of the random order, see `sample_iter`.
        blocks (`Tensor` (Q,) or `None`): Block number of the first, second, … value of the order, increasing from 1.
            Values of one block are scored independently of each other. `None`: see `num_steps`.
        num_steps (`int` or `None`): Score the blocks that `sample(num_steps=…)` draws. `None`: blocks of one value,
            which is exact.
        chunk_size (`int`): Approximate number of values encoded at a time, so that memory grows linearly with Q.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    context, config = Context(context_positions, context_values, context_mask, context_scales), model.config
    query_positions, query_scales = _check_chain(model, context, query_positions, query_scales)
    check_given("query_values", query_values)
    check_inputs(config, "query", query_positions, query_values, batch=context_positions.shape[0])
    batch, count = query_positions.shape[:2]
    check_count("chunk_size", chunk_size, 1)
    if num_steps is not None:
        check_count("num_steps", num_steps, 1)
        if blocks is not None:
            raise ValueError("blocks: expected None with num_steps, which decides them, got both")
    order = DEFAULT_ORDER if order is None else order
    check_order(order, ((count,), (batch, count)))
    streams = Streams.of(generator, batch)
    if isinstance(order, str) and order == COARSE_TO_FINE:
        _check_coarse_to_fine(config, blocks=blocks, query_scales=query_scales)
        scores = score_scales(model, context, query_positions, query_values, streams, num_steps, chunk_size)
        return torch.stack(list(scores.values())).sum(0)
    order = _permutations(config, order, query_positions, streams)
    planned = blocks is None
    sizes = _blocks(config, count, num_steps, context.counts()) if planned else [_sizes(blocks, count)] * batch
    chain = (take(query_positions, order), take(query_values, order), take(query_scales, order))
    return score_blocks(model, context, *chain, sizes, chunk_size).sum(1)


def _sizes(blocks: Tensor, count: int) -> list[int]:
    """Sizes of the blocks that a caller numbered."""
    check_blocks("blocks", blocks, count, "(Q,)")
    return torch.unique_consecutive(blocks, return_counts=True)[1].tolist()
