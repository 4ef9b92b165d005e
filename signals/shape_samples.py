"""Samples of whole shapes: values are drawn where it is uncertain which side of the surface a cell lies on.

A grid has too many cells to draw each one, and values at evenly spread cells miss thin parts like the legs of a chair.
The order of the chain rule is free, and may depend on what has been drawn. So a first part of the values is spread
evenly, and later parts are drawn where a cell may be inside as well as outside, given all values before. The rest of
the cells is filled with the distances that are likely given the drawn ones (`signals.overlap`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pixeltransformer.checks import check_count
from pixeltransformer.context import Context, take
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from pixeltransformer.orders import spread_order
from pixeltransformer.streams import Streams
from signals.overlap import inside, likely_distances
from signals.plan import SamplePlan

DRAWN = 640  # values of a shape that are drawn
STEPS = 64  # passes in which they are
PARTS = (0.4, 0.2, 0.2, 0.2)  # shares of the drawn values; the first is spread evenly
CANDIDATES = 4096  # cells among which the uncertain ones are looked for
DRAWING = 0.8  # of the work; the rest is filling


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
        temperature (`float`), generator: See `model.sample`. The first samples do not depend on how many are drawn.

    Raises:
        ValueError: naming the argument, what was expected and what came.
    """
    for name, count in (("num_samples", num_samples), ("num_drawn", num_drawn), ("num_steps", num_steps)):
        check_count(name, count, 1)
    queries = query_positions.expand(num_samples, -1, -1)
    distances = context_values.new_full((*queries.shape[:2], 1), torch.nan)
    known = Context(context_positions, context_values, scales=context_scales).repeat(num_samples)
    done = 0.0
    sizes, steps = part_sizes(min(num_drawn, queries.shape[1])), part_sizes(num_steps)
    for share, size, passes in zip(PARTS, sizes, steps, strict=True):
        if not size:
            continue
        streams = Streams.of(generator, num_samples)
        if done:
            chosen = _uncertain(model, known, queries, distances, size, streams)
        else:
            chosen = spread_order(queries, streams)[:, :size]
        positions = take(queries, chosen)
        settings = {"num_steps": min(size, max(1, passes)), "temperature": temperature, "generator": generator}
        for state in model.sample_iter(**_arguments(known), query_positions=positions, **settings):
            yield DRAWING * (done + share * state.share)
        done += share
        distances.scatter_(1, chosen[..., None], state.values[0])
        known = known.extend(positions, state.values[0])
    for number in range(num_samples):  # one at a time: the distributions of all cells take much memory
        one = known.rows(slice(number, number + 1))
        distances[number] = _filled(model, one, queries[number], distances[number])
        yield DRAWING + (0.99 - DRAWING) * (number + 1) / num_samples
    yield distances


def new_shapes(
    model: PixelTransformerModel, count: int, num_steps: int, temperature: float, generator: torch.Generator
) -> Tensor:
    """Distances (count, cells, 1) of new shapes on the native grid, nothing observed."""
    everywhere = model.native_positions()
    nothing = everywhere[:, :0], everywhere[:, :0, :1]
    *_, shapes = sample_shapes(model, *nothing, everywhere, count, DRAWN, num_steps, temperature, generator)
    return shapes


class ShapeSamples(SamplePlan):
    """Whole shapes as above, and the likely one."""

    guessed = "likely surface"

    def guess(self, distributions: ValueDistribution) -> Tensor:
        """Distances (B, Q, 1) whose zeros are the likely surface."""
        return torch.stack([likely_distances(distributions[number]) for number in range(len(distributions.means))])

    def draw(self, model, known, asked, generator, num_samples=None, temperature=1.0) -> Tensor:
        """See `SamplePlan.draw`."""
        options = (num_samples or self.samples, self.drawn, self.steps, temperature, generator)
        found = []
        for number in range(len(asked)):
            *_, shapes = sample_shapes(model, *(part[number, None] for part in (*known, asked)), *options)
            found.append(shapes)
        return torch.stack(found, 1)

    def how(self) -> str:
        """See `SamplePlan.how`."""
        return f"{self.drawn} values drawn in {self.steps} steps and the rest filled in as is likely given them"


def part_sizes(count: int) -> list[int]:
    """How many of `count` values, or passes, belong to each of `PARTS`."""
    ends = [round(count * sum(PARTS[: number + 1])) for number in range(len(PARTS))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _arguments(known: Context) -> dict[str, Tensor | None]:
    """A context as arguments of `model.predict` and `model.sample_iter`."""
    return {"context_positions": known.positions, "context_values": known.values, "context_scales": known.scales}


def _uncertain(model, known: Context, queries: Tensor, distances: Tensor, count: int, streams: Streams) -> Tensor:
    """Indices (S, count) of random cells that are not drawn yet; the less certain their side, the more likely.

    Cells are drawn without replacement: those with the largest log(u) / weight (Efraimidis & Spirakis 2006).
    """
    chance = streams.of_order(queries.shape[1]).to(distances)
    hidden = distances[..., 0].isnan()
    candidates = min(int(hidden[0].sum()), max(count, CANDIDATES))
    left = chance.masked_fill(~hidden, -1).topk(candidates).indices
    probability = model.predict(**_arguments(known), query_positions=take(queries, left), reduce=inside)
    weights = (probability * (1 - probability)).clamp(min=1e-6)
    uniform = streams.fork(1).of_order(candidates).to(weights.device)
    return left.gather(1, (uniform.log() / weights).topk(count).indices)


def _filled(model, known: Context, queries: Tensor, distances: Tensor) -> Tensor:
    """Distances (Q, 1) of one sample with likely ones where none is drawn."""
    left = distances[:, 0].isnan().nonzero()[:, 0]
    if not len(left):
        return distances
    found = model.predict(**_arguments(known), query_positions=queries[None, left])[0]
    return distances.index_copy(0, left, likely_distances(found).to(distances.dtype))
