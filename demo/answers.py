"""What the app asks of a model, for any kind of signal: marginals, samples as they are drawn, the best next query."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from demo.guard import check_time
from demo.limits import MAX_DRAWN, MAX_SAMPLES, MAX_SEED, MAX_STEPS, MAX_TEMPERATURE, drawn_at_most, real, whole
from demo.models import load
from demo.observed import Observed
from pixeltransformer.coarse_to_fine import grid_at
from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.sampling import SampleState

FRAMES = 24  # partial states of samples that are shown
FAST = 64  # passes of a fast sample
ENTROPY_DRAWS = 2**16  # draws in all from which entropies are estimated
SHORTLIST = 24  # positions whose entropy is computed precisely
ORDERS = ("spread", "random", "raster", "coarse-to-fine")
SPEEDS = {"exact": None, "fast": FAST}  # passes that a sample may cost


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn; checked when made.

    Attributes:
        steps (`int` or `None`): Passes that a sample may cost; `None`: exact, as many as it needs.

    Raises:
        ValueError: naming the argument and its limits.
    """

    samples: int = 4
    steps: int | None = None
    temperature: float = 0.9
    seed: int = 0
    order: str = ORDERS[0]

    def __post_init__(self):
        whole("samples", self.samples, 1, MAX_SAMPLES)
        if self.steps is not None:
            whole("steps", self.steps, 1, MAX_STEPS)
        real("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        whole("seed", self.seed, 0, MAX_SEED)
        if self.order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {str(self.order)[:40]!r}")


def marginal(checkpoint: str, observed: Observed, queries: Tensor) -> ValueDistribution:
    """Marginal distributions, batch shape (Q,), at positions (Q, P); on the CPU."""
    check_time()
    model = load(checkpoint)
    device = model.device
    found = model.predict(**observed.arguments(device), query_positions=queries[None].to(device))[0]
    check_time()
    return on_cpu(found)


@dataclass(frozen=True)
class Drawn:
    """Samples while they are drawn.

    Attributes:
        values (`Tensor` (S, Q, V)): NaN where nothing is drawn yet.
        drawn (`Tensor` (S, Q)): True where a value is there.
        share (`float`): Of the work that is done; 1 at the end.
        coarse (`Tensor` (S, …, y, x, V) or `None`): While averages over larger cells are drawn, those of this scale;
            NaN where none is drawn yet.
    """

    values: Tensor
    drawn: Tensor
    share: float
    coarse: Tensor | None = None


def joint(
    checkpoint: str,
    observed: Observed,
    queries: Tensor,
    sampling: Sampling,
    frames: int = FRAMES,
    most: int = MAX_DRAWN,
) -> Iterator[Drawn]:
    """Joint samples at positions (Q, P): the state after the first pass, after about `frames` others, after each scale
    above 0, and at the end.

    At most `most` values, fewer where the request would be too large, are drawn, in at most `FAST` passes, and the rest
    takes its mean given them (from coarse to fine: all do, given the cells of the last coarse scale).

    Raises:
        ValueError: from coarse to fine with a checkpoint that knows no scales.
    """
    model = load(checkpoint)
    device = model.device
    levels = sampling.order == "coarse-to-fine" and model.config.num_scales > 1  # otherwise the model tells
    larger = math.prod(grid_at(model.config, model.config.chain[-2])) if levels else 0
    count = min(most, drawn_at_most(int(sampling.samples), len(queries), len(observed) + larger))
    rest: dict[str, Any] = {}
    steps = None if sampling.steps is None else int(sampling.steps)
    if count < len(queries):
        rest = {"finish": "mean"} if levels else {"num_autoregressive": count}
        steps = steps or FAST
    states = model.sample_iter(
        **observed.arguments(device),
        query_positions=queries[None].to(device),
        num_samples=int(sampling.samples),
        num_steps=steps if levels or steps is None else min(steps, count),
        temperature=float(sampling.temperature),
        generator=torch.Generator(device).manual_seed(int(sampling.seed)),
        order=sampling.order,
        **rest,
    )
    due = 0.0
    for state in states:
        check_time()
        ends = state.coarse is not None and not state.coarse.isnan().any()
        if state.share >= min(due, 1.0) or ends:
            due = state.share + 1 / frames
            parts = state.values[:, 0].cpu(), state.drawn[:, 0].cpu(), state.share
            yield Drawn(*parts, _coarse_array(state, model.config.axes_slowest_first))


def _coarse_array(state: SampleState, axes: list[int]) -> Tensor | None:
    """Averages (S, …, y, x, V), NaN where none is drawn yet, of a state that holds any."""
    if state.coarse is None:
        return None
    return state.coarse[:, 0].unflatten(1, [state.coarse_grid[axis] for axis in axes]).cpu()


def entropies(found: ValueDistribution) -> Tensor:
    """Entropies (Q,) in nats of marginals, batch shape (Q,), in about the same time for many as for some."""
    count = found.batch_shape[0]
    draws = min(256, max(8, ENTROPY_DRAWS // count))
    parts = []
    for start in range(0, count, 4096):
        check_time()
        parts.append(found[start : start + 4096].entropy(num_samples=draws))
    return torch.cat(parts)


def most_uncertain(checkpoint: str, observed: Observed, queries: Tensor) -> tuple[int, float]:
    """Which of the queries (Q, P) has the value that is least known, and its entropy in nats.

    Entropies are estimated roughly everywhere, then precisely for the most uncertain few.
    """
    found = marginal(checkpoint, observed, queries)
    rough = found.entropy(num_samples=8)
    check_time()
    best = rough.topk(min(SHORTLIST, len(queries))).indices
    precise = found[best].entropy()
    winner = precise.argmax()
    return int(best[winner]), float(precise[winner])


def on_cpu(distribution: ValueDistribution) -> ValueDistribution:
    """The distribution with all tensors on the CPU."""
    if distribution.means.device.type == "cpu":
        return distribution
    moved = distribution.with_parts(**{name: part.cpu() for name, part in distribution.parts.items()})
    moved.bin_centers = None if distribution.bin_centers is None else distribution.bin_centers.cpu()
    return moved
