"""Joint samples and likelihoods by the chain rule; orders and blocks are plain functions, apart from the network."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

try:
    from .distribution_pixeltransformer import check_temperature
    from .validation_pixeltransformer import check_given, check_places
except ImportError:
    from distribution_pixeltransformer import check_temperature
    from validation_pixeltransformer import check_given, check_places


@dataclass
class SampleState:
    """What is drawn after a step of `sample_iter`.

    Attributes:
        values (`Tensor` (S, B, Q, V)): Values drawn so far; NaN where none is yet.
        drawn (`Tensor` (S, B, Q)): True where a value is there.
        step, num_steps (`int`): Steps done, and steps in all.
    """

    values: Tensor
    drawn: Tensor
    step: int
    num_steps: int


def random_orders(shape: tuple[int, ...], length: int, device, generator: torch.Generator | None = None) -> Tensor:
    """Independent uniformly random permutations of 0 … length - 1, `(*shape, length)`."""
    return torch.rand(*shape, length, generator=generator, device=device).argsort(-1)


def block_sizes(num_queries: int, num_steps: int | None) -> list[int]:
    """How many queries each step draws: `num_steps` positive sizes that sum to `num_queries`.

    Blocks grow linearly: early values say much about each other, late ones hardly, given all that is known by then.
    """
    if num_steps is None or num_steps >= num_queries:
        return [1] * num_queries
    ends = [round(num_queries * (step / num_steps) ** 2) for step in range(num_steps + 1)]
    for step in range(1, num_steps + 1):  # at least one query per step
        ends[step] = max(ends[step], ends[step - 1] + 1)
    return [stop - start for start, stop in zip(ends, ends[1:], strict=False)]


def _take(x: Tensor, order: Tensor) -> Tensor:
    """Rows of x (N, Q, C) in the order (N, Q)."""
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))


def _take_rotation(rotation: tuple[Tensor, Tensor] | None, start: int, stop: int):
    return None if rotation is None else (rotation[0][:, :, start:stop], rotation[1][:, :, start:stop])


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
    model, context_positions, context_values, query_positions, context_mask, num_drawn: int | None = None
) -> Tensor:
    """Check what sampling and joint likelihood share; returns queries with the context's batch size.

    `num_drawn` of the queries become tokens (default: all).
    """
    check_places(model.config, "context", context_positions, context_values, context_mask)
    batch, known = context_positions.shape[:2]
    check_places(model.config, "query", query_positions, batch=batch)
    num_drawn = query_positions.shape[1] if num_drawn is None else num_drawn
    if known + num_drawn > model.config.max_tokens:
        raise ValueError(
            f"query_positions: expected context and drawn queries together at most {model.config.max_tokens} "
            f"(config.max_tokens, a guard for memory), got {known} + {num_drawn}; num_autoregressive draws fewer"
        )
    return query_positions.expand(batch, -1, -1)


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
    order: Tensor | None = None,
    context_mask: Tensor | None = None,
    use_cache: bool = True,
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
    order: Tensor | None = None,
    context_mask: Tensor | None = None,
    use_cache: bool = True,
) -> Iterator[SampleState]:
    """Draw joint samples by the chain rule, yielding the state after every step.

    Args:
        num_samples (`int`): S, samples per batch item.
        num_steps (`int` or `None`): Steps to spend; values drawn in the same step are drawn independently of each
            other. `None`: one query per step, which is exact.
        temperature (`float`): See `ValueDistribution.sample`.
        generator (`torch.Generator` or `None`): Source of all randomness, on the model's device.
        num_autoregressive (`int` or `None`): Draw this many values and fill the rest with their conditional mean in
            one further step (the paper's hybrid). `None`: draw all.
        order (`Tensor` (Q,) or (S, B, Q) or `None`): Order in which queries are drawn; `None`: a fresh random one
            for each sample.
        use_cache (`bool`): False re-encodes everything at each step under the same masks: the paper's cost, the
            same numbers.

    Yields:
        `SampleState`, whose tensors are overwritten by the next step.
    """
    if num_autoregressive is not None:
        _check_count("num_autoregressive", num_autoregressive, 0)
    query_positions = _check_sampling(
        model, context_positions, context_values, query_positions, context_mask, num_autoregressive
    )
    batch, count = query_positions.shape[:2]
    _check_count("num_samples", num_samples, 1)
    if num_steps is not None:
        _check_count("num_steps", num_steps, 1)
    if num_autoregressive is not None:
        _check_count("num_autoregressive", num_autoregressive, 0, count)
    check_temperature(temperature)
    if order is not None:
        order = _check_order(order, ((count,), (num_samples, batch, count)))
    to_draw = count if num_autoregressive is None else num_autoregressive
    sizes = block_sizes(to_draw, num_steps)
    return _sample_steps(
        model,
        (context_positions, context_values, context_mask),
        query_positions,
        num_samples,
        sizes,
        temperature,
        order,
        generator,
        use_cache,
    )


@torch.no_grad()
def _sample_steps(
    model,
    context: tuple[Tensor, Tensor, Tensor | None],
    query_positions: Tensor,
    num_samples: int,
    sizes: list[int],
    temperature: float,
    order: Tensor | None,
    generator: torch.Generator | None,
    use_cache: bool,
) -> Iterator[SampleState]:
    batch, count = query_positions.shape[:2]
    rows, drawn_count, channels = num_samples * batch, sum(sizes), model.config.value_dim
    if order is None:
        order = random_orders((num_samples, batch), count, query_positions.device, generator)
    order = order.reshape(rows, count)
    positions = _take(query_positions.repeat(num_samples, 1, 1), order)  # (rows, Q, P), in the order of drawing
    # All that depends on positions alone is computed once, outside the loop.
    queries, rotation = model.embed_queries(positions[:, :drawn_count]), model.rotation(positions[:, :drawn_count])
    encoded = model.encode(*context)
    memory = encoded.repeat(num_samples, encoded.length + drawn_count)
    ordered = torch.zeros(rows, drawn_count, channels, device=positions.device)  # values in the order of drawing
    values = torch.full((rows, count, channels), float("nan"), device=positions.device)
    drawn = torch.zeros(rows, count, dtype=torch.bool, device=positions.device)
    num_steps = len(sizes) + (drawn_count < count)

    def state(step: int) -> SampleState:
        shape = (num_samples, batch, count)
        return SampleState(values.view(*shape, channels), drawn.view(shape), step, num_steps)

    start = 0
    for step, size in enumerate(sizes):
        stop = start + size
        if not use_cache and step:
            memory = _encode_again(model, context, num_samples, positions, ordered, sizes[:step])
        here = _take_rotation(rotation, start, stop)
        block = model.decode(memory, queries[:, start:stop], here).sample((), temperature, generator)
        ordered[:, start:stop] = block
        values.scatter_(1, order[:, start:stop, None].expand(-1, -1, channels), block)
        drawn.scatter_(1, order[:, start:stop], True)
        yield state(step + 1)
        if use_cache and stop < count:
            model.append(memory, model.embed_tokens(positions[:, start:stop], block), here)
        start = stop
    if drawn_count < count:
        if not use_cache:
            memory = _encode_again(model, context, num_samples, positions, ordered, sizes)
        rest = model.predict_from(memory, positions[:, drawn_count:]).mean
        values.scatter_(1, order[:, drawn_count:, None].expand(-1, -1, channels), rest)
        drawn.fill_(True)
        yield state(num_steps)


def _encode_again(model, context, num_samples: int, positions: Tensor, ordered: Tensor, sizes: list[int]):
    """Everything known after blocks of `sizes`, encoded anew in one pass under the masks that the cache implies."""
    context_positions, context_values, context_mask = context
    memory = model.encode(
        context_positions.repeat(num_samples, 1, 1),
        context_values.repeat(num_samples, 1, 1),
        None if context_mask is None else context_mask.repeat(num_samples, 1),
    )
    known = sum(sizes)
    if known:
        blocks = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(positions.device)
        tokens = model.embed_tokens(positions[:, :known], ordered[:, :known])
        model.append(memory, tokens, model.rotation(positions[:, :known]), blocks)
    return memory


@torch.no_grad()
def joint_log_prob(
    model,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    query_values: Tensor,
    order: Tensor | None = None,
    generator: torch.Generator | None = None,
    context_mask: Tensor | None = None,
    blocks: Tensor | None = None,
    chunk_size: int = 1024,
) -> Tensor:
    """Joint log-likelihood (B,) of the query values given the context, in nats, by the chain rule.

    Args:
        order (`Tensor` (Q,) or (B, Q) or `None`): The order of the chain; `None`: a random one per item.
        blocks (`Tensor` (Q,) or `None`): Block of the first, second, … value of the order, rising from 1: values of
            one block are scored independently, as `num_steps` samples them. `None`: blocks of one, which is exact.
        chunk_size (`int`): Values encoded at a time, about: memory grows linearly with Q.
    """
    query_positions = _check_sampling(model, context_positions, context_values, query_positions, context_mask)
    check_given("query_values", query_values)
    check_places(model.config, "query", query_positions, query_values, batch=context_positions.shape[0])
    batch, count = query_positions.shape[:2]
    if order is None:
        order = random_orders((batch,), count, query_positions.device, generator)
    else:
        order = _check_order(order, ((count,), (batch, count)))
    if blocks is None:
        blocks = torch.arange(1, count + 1, device=query_positions.device)
    else:
        _check_blocks(blocks, count)
    positions, values = _take(query_positions, order), _take(query_values, order)
    encoded = model.encode(context_positions, context_values, context_mask)
    memory = encoded.repeat(1, encoded.length + count)
    total = torch.zeros(batch, device=positions.device)
    start = 0
    while start < count:
        stop = min(start + chunk_size, count)
        while stop < count and blocks[stop] == blocks[stop - 1]:  # a block is never cut in two
            stop += 1
        chunk, part = positions[:, start:stop], blocks[start:stop]
        rotation, known = model.rotation(chunk), memory.length
        model.append(memory, model.embed_tokens(chunk, values[:, start:stop]), rotation, part)
        past = torch.nn.functional.pad(part[None, :] < part[:, None], (known, 0), value=True)
        distribution = model.decode(memory, model.embed_queries(chunk), rotation, past)
        total += distribution.log_prob(values[:, start:stop]).sum(1)
        start = stop
    return total
