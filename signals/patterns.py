"""Patterns in training: which families of regions contexts are drawn from, and how often.

The regions themselves are in `pixeltransformer/patterns.py`, since the image processor of a checkpoint knows some of
them by name; kinds of signals import them from here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pixeltransformer.patterns import (
    Pattern,
    Score,
    anywhere,
    around_center,
    ball,
    blobs,
    box,
    clusters,
    every,
    every_nth_frame,
    frames,
    half_space,
    lattice,
    outside,
    ranked,
    raster,
    slab,
    spread,
    strokes,
    toward,
)

__all__ = [
    "ANY_KIND",
    "FAMILIES",
    "OF_TIME",
    "Pattern",
    "PatternMixture",
    "Score",
    "anywhere",
    "around_center",
    "ball",
    "blobs",
    "box",
    "clusters",
    "every",
    "every_nth_frame",
    "frames",
    "half_space",
    "lattice",
    "outside",
    "ranked",
    "raster",
    "slab",
    "spread",
    "strokes",
    "toward",
]

# What training draws contexts from, and how often; shares are relative. Each works for any number of axes.
FAMILIES: dict[str, tuple[Score, float]] = {
    "half-space": (half_space, 2.0),
    "raster": (raster, 2.0),
    "ball": (ball, 0.7),
    "outside a ball": (outside(ball), 0.7),
    "box": (box, 0.7),
    "outside a box": (outside(box), 1.4),
    "slab": (slab, 0.5),
    "clusters": (clusters, 0.7),
    "strokes": (strokes, 2.0),
    "outside strokes": (outside(strokes), 0.5),
    "blobs": (blobs, 1.0),
    "lattice": (lattice, 0.8),
    "spread": (spread, 1.0),
    "frames": (frames, 4.0),
    "every n-th frame": (every_nth_frame, 3.0),
}
OF_TIME = ("frames", "every n-th frame")
ANY_KIND = tuple(name for name in FAMILIES if name not in OF_TIME)
HARDNESS = (2.0, 100.0)  # range of s, see `PatternMixture`
EXACT = 0.4  # share of patterned signals without noise
UNION = 0.3  # share of patterned signals with random positions besides the pattern
CONTINUED = 0.5  # share of patterned signals whose buffer goes on in the order of the scores


@dataclass(frozen=True)
class PatternMixture:
    """Draws contexts for training: random ones, and patterns from `FAMILIES` with sharp or soft borders.

    A soft pattern ranks positions by s · score + Gumbel noise, with standardised scores and s log-uniform in
    `HARDNESS`. The K highest ranks are then a sample without replacement with probabilities ∝ exp(s · score) (Kool et
    al., ICML 2019). s → 0 gives a random context, s → ∞ a sharp region.

    Attributes:
        probability (`float`): Share of signals whose context is a pattern.
        names (`Sequence[str]`): Names of the families in use.
    """

    probability: float
    names: Sequence[str] = ANY_KIND

    def order(self, positions: Tensor, context: int, buffer: int, count: int, generator: torch.Generator) -> Tensor:
        """Indices (B, count) of positions (B, N, P): first the context, then the buffer, then queries.

        Queries are random positions that are not observed. So is the buffer, except in the `CONTINUED` share of
        patterns, where it holds the next positions by score.
        """
        batch, total, _ = positions.shape
        device = positions.device
        shares = torch.tensor([FAMILIES[name][1] for name in self.names], device=device)
        family = torch.multinomial(shares, batch, replacement=True, generator=generator)
        numbers = torch.rand(batch, 6, generator=generator, device=device)
        plain = numbers[:, 0] >= self.probability
        family[plain] = -1
        scores = torch.zeros(batch, total, dtype=torch.double, device=device)
        for index, name in enumerate(self.names):
            rows = (family == index).nonzero()[:, 0]
            if len(rows):
                scores[rows] = FAMILIES[name][0](positions[rows], generator).double()
        low, high = map(math.log, HARDNESS)
        hardness = torch.exp(low + numbers[:, 1:2].double() * (high - low))
        standard = (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp(min=1e-12)
        uniform = torch.rand(batch, total, generator=generator, device=device, dtype=torch.double)
        gumbel = -(-uniform.clamp(min=1e-12).log()).log()
        sharp = (numbers[:, 2:3] < EXACT) & ~plain[:, None]
        keys = torch.where(sharp, standard + 1e-9 * gumbel, hardness * standard + gumbel)
        # A union: random positions go first, about 0 to 0.4 times as many as the context has.
        joined = (numbers[:, 3:4] < UNION) & ~plain[:, None]
        chance = (numbers[:, 4:5] * 0.4 * context + 1) / total
        extra = joined & (torch.rand(batch, total, generator=generator, device=device) < chance)
        keys = torch.where(extra, keys + 1e6, keys)
        rank = keys.argsort(1, descending=True).argsort(1)
        continued = (numbers[:, 5:6] < CONTINUED) & ~plain[:, None]
        fixed = context + torch.where(continued, buffer, 0)
        rest = torch.rand(batch, total, generator=generator, device=device)
        return torch.where(rank < fixed, 1.0 + total - rank, rest).topk(count, 1).indices
