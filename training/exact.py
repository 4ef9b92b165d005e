"""Targets from the exact posterior, for kinds of signal that know it."""

from typing import Any

import torch
from torch import Tensor

COPIES = 4  # values drawn for each target, an even number


def exact_targets(posterior: Any, episode: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Targets (COPIES, B, N, V) for an episode's queries and buffer, drawn from the exact posterior.

    The true value of a signal is a single draw from the distribution that the model learns. Several draws, one from
    each of COPIES equally likely intervals, make the gradient far less noisy. They come in mirrored pairs: once the
    model predicts the right Gaussian mean, its gradient is exactly 0. Where the posterior has no density, all copies
    are the true value.

    Args:
        posterior: Has `has_density` and `predict`, see `Signal.posterior`; its marginals have an `icdf`.
        episode: The model's arguments, see `training.episodes.make_episode`.

    Returns:
        `dict`: "query_values" and, where the episode has a buffer, "buffer_values".
    """
    context = episode["context_positions"], episode["context_values"]
    targets = {"query_values": _drawn(posterior, context, _pair(episode, "query"), generator)}
    if "buffer_values" in episode:
        buffer, blocks = _pair(episode, "buffer"), episode["buffer_blocks"]
        parts = []
        for block in blocks.unique().tolist():  # a buffer value is predicted given the blocks before its own
            before, own = blocks < block, blocks == block
            known = tuple(torch.cat((seen, part[:, before]), 1) for seen, part in zip(context, buffer, strict=True))
            parts.append(_drawn(posterior, known, tuple(part[:, own] for part in buffer), generator))
        targets["buffer_values"] = torch.cat(parts, 2)
    return targets


def _pair(episode: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return episode[f"{name}_positions"], episode[f"{name}_values"]


def _drawn(
    posterior: Any, known: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor], generator: torch.Generator
) -> Tensor:
    """Values (COPIES, B, N, V) at asked positions; `known` and `asked` are positions and values."""
    positions, values = asked
    if not posterior.has_density(known[0].shape[1]):
        return values.expand(COPIES, *values.shape)
    half = COPIES // 2
    uniform = torch.rand(half, *values.shape, generator=generator, device=values.device, dtype=torch.double)
    strata = torch.arange(half, device=values.device).view(-1, 1, 1, 1)
    lower = (strata + uniform) / COPIES
    marginals = posterior.predict(*known, positions).base_dist
    return marginals.icdf(torch.cat((lower, 1 - lower))).to(values.dtype)
