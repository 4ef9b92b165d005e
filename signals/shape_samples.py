"""Samples of whole shapes: values are drawn where it is uncertain which side of the surface a cell lies on.

A grid has too many cells to draw each one, and values at evenly spread cells miss thin parts like the legs of a chair.
The order of the chain rule is free, and may depend on what has been drawn. So a first part of the values is spread
evenly, and later parts are drawn where a cell may be inside as well as outside, given all values before. The rest of
the cells is filled with the distances that are likely given the drawn ones (`signals.overlap`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixeltransformer.context import Context, take
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from pixeltransformer.orders import spread_order
from pixeltransformer.streams import Streams
from signals.overlap import inside, likely_distances

DRAWN = 640  # values of a shape that are drawn
STEPS = 64  # passes in which they are
PARTS = (0.4, 0.2, 0.2, 0.2)  # shares of the drawn values; the first is spread evenly
CANDIDATES = 4096  # cells among which the uncertain ones are looked for


def sample_shapes(
    model: PixelTransformerModel,
    context_positions: Tensor,
    context_values: Tensor,
    query_positions: Tensor,
    num_samples: int = 1,
    num_drawn: int = DRAWN,
    num_steps: int = STEPS,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    context_scales: Tensor | None = None,
) -> Iterator[float | Tensor]:
    """Yields the share of the work that is done, after each pass, and at the end distances (num_samples, Q, 1).

    Args:
        context_positions (`Tensor` (1, K, 3)), context_values (`Tensor` (1, K, 1)), context_scales (`Tensor` (1, K)):
            What is known of one shape; see `model.predict`.
        query_positions (`Tensor` (1, Q, 3)): The other cells.
        num_drawn (`int`): Values of each sample that are drawn, at most Q.
        num_steps (`int`): Passes in which they are drawn, at least one for each part of `PARTS`.
        temperature (`float`), generator: See `model.sample`.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    queries = query_positions.expand(num_samples, -1, -1)
    distances = queries.new_full((*queries.shape[:2], 1), torch.nan)
    known = Context(context_positions, context_values, scales=context_scales).repeat(num_samples)
    done = 0.0
    for share, size in zip(PARTS, part_sizes(min(num_drawn, queries.shape[1])), strict=True):
        if not size:
            continue
        if done:
            chosen = _uncertain(model, known, queries, distances, size, generator)
        else:
            chosen = spread_order(queries, Streams.of(generator, num_samples))[:, :size]
        positions = take(queries, chosen)
        steps = min(size, max(1, round(num_steps * share)))
        settings = {"num_steps": steps, "temperature": temperature, "generator": generator}
        for state in model.sample_iter(**_arguments(known), query_positions=positions, **settings):
            yield 0.99 * (done + share * state.share)  # the rest is for filling
        done += share
        distances.scatter_(1, chosen[..., None], state.values[0])
        known = known.extend(positions, state.values[0])
    yield _filled(model, known, queries, distances)


def new_shapes(
    model: PixelTransformerModel, count: int, num_steps: int, temperature: float, generator: torch.Generator
) -> Tensor:
    """Distances (count, cells, 1) of new shapes on the native grid, nothing observed."""
    everywhere = model.native_positions()
    nothing = everywhere[:, :0], everywhere[:, :0, :1]
    *_, shapes = sample_shapes(model, *nothing, everywhere, count, DRAWN, num_steps, temperature, generator)
    return shapes


def part_sizes(count: int) -> list[int]:
    """How many of `count` values belong to each of `PARTS`."""
    ends = [round(count * sum(PARTS[: number + 1])) for number in range(len(PARTS))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _arguments(known: Context) -> dict[str, Tensor | None]:
    """A context as arguments of `model.predict` and `model.sample_iter`."""
    return {"context_positions": known.positions, "context_values": known.values, "context_scales": known.scales}


def _uncertain(model, known: Context, queries: Tensor, distances: Tensor, count: int, generator) -> Tensor:
    """Indices (S, count) of random cells that are not drawn yet; the less certain their side, the more likely."""
    chance = torch.rand(distances.shape[:2], generator=generator, device=distances.device)
    hidden = distances[..., 0].isnan()
    candidates = min(int(hidden[0].sum()), max(count, CANDIDATES))
    left = chance.masked_fill(~hidden, -1).topk(candidates).indices
    probability = model.predict(**_arguments(known), query_positions=take(queries, left), reduce=inside)
    weights = (probability * (1 - probability)).clamp(min=1e-6)
    return left.gather(1, torch.multinomial(weights, count, generator=generator))


def _filled(model, known: Context, queries: Tensor, distances: Tensor) -> Tensor:
    """Distances (S, Q, 1) with likely ones where none is drawn."""
    left = distances[..., 0].isnan()
    if not left.any():
        return distances
    places = left.nonzero()[:, 1].view(len(left), -1)
    found = model.predict(**_arguments(known), query_positions=take(queries, places))
    likely = torch.stack([likely_distances(found[number]) for number in range(len(left))])
    return distances.scatter(1, places[..., None], likely)
