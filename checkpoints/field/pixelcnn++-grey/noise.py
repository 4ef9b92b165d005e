"""Random numbers on any device, from a generator that may be on another one: the same seed gives the same numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(shape: Sequence[int], device: torch.device | str, generator: torch.Generator | None = None) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=generator, device=source(device, generator)).to(device)


def normal(shape: Sequence[int], device: torch.device | str, generator: torch.Generator | None = None) -> Tensor:
    """Numbers from the standard normal distribution."""
    return torch.randn(shape, generator=generator, device=source(device, generator)).to(device)


def exponential(shape: Sequence[int], device: torch.device | str, generator: torch.Generator | None = None) -> Tensor:
    """Numbers from the exponential distribution of rate 1."""
    return torch.empty(shape, device=source(device, generator)).exponential_(generator=generator).to(device)


def integers(
    high: int, shape: Sequence[int], device: torch.device | str, generator: torch.Generator | None = None
) -> Tensor:
    """Whole numbers from 0 to `high` - 1."""
    return torch.randint(high, shape, generator=generator, device=source(device, generator)).to(device)


def source(device: torch.device | str, generator: torch.Generator | None) -> torch.device | str:
    """Where numbers are drawn: torch refuses a generator of another device."""
    return device if generator is None else generator.device
