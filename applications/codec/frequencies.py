"""Integer frequencies of the levels of a value, and the range coder that reads or writes levels by them.

The rule that both sides follow, for each channel given the channels before it:

1. The mixture's distribution function Φ_mix is computed in float32 at the edges between levels.
2. A level is coded in two steps, so that few edges need it: first its group of neighbouring levels (16 groups for 256
   levels), then the level inside the group. Masses are differences of Φ_mix; negative ones (rounding) count as 0.
3. The n masses of a step become frequencies f = 1 + floor(mass (2^24 - n) / total) in float64. What is missing to 2^24
   is added to the first of the largest masses. Where all masses are 0 they count as equal.

So every level can be coded, whatever the model says, at no more than 48 bits.
"""

import math
from collections.abc import Callable

import constriction
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.gaussians import ChannelGaussians
from pixeltransformer.levels import Levels

PRECISION = 24  # the bits of a frequency: what `constriction` codes by
CHUNK = 256  # values computed at a time: 256 × 16 edges × 64 components stay in a core's cache

# Codes one symbol for each row of frequencies (n, symbols); given None instead of symbols (n,), it reads them.
Coder = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


class Writer:
    """Writes symbols with a range coder."""

    def __init__(self):
        self._encoder = constriction.stream.queue.RangeEncoder()
        self._family = constriction.stream.model.Categorical(perfect=False)

    def __call__(self, frequencies: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        self._encoder.encode(symbols.astype(np.int32), self._family, frequencies - 1.0)
        return symbols

    def payload(self) -> bytes:
        """All that was written. Up to 3 trailing zero bytes are left out; `Reader` puts them back."""
        data = self._encoder.get_compressed().astype(">u4").tobytes()
        end = len(data)
        while end > len(data) - 3 and end > 0 and data[end - 1] == 0:
            end -= 1
        return data[:end]


class Reader:
    """Reads symbols that a `Writer` wrote, given the same frequencies."""

    def __init__(self, payload: bytes):
        payload = payload + bytes(-len(payload) % 4)
        self._decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(payload, ">u4").astype(np.uint32))
        self._family = constriction.stream.model.Categorical(perfect=False)

    def __call__(self, frequencies: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        # The library adds 1 to each frequency and scales what it is given to 2^24 - n, here by exactly 1.
        return self._decoder.decode(self._family, frequencies - 1.0)


def integer_frequencies(masses: np.ndarray) -> np.ndarray:
    """Frequencies (…, n), integers of at least 1 (as float64) that sum to 2^24, by the rule of this module."""
    masses = np.maximum(masses.astype(np.float64), 0.0)
    total = masses.sum(-1, keepdims=True)
    masses = np.where(total > 0, masses, 1.0)
    total = np.where(total > 0, total, float(masses.shape[-1]))
    free = 2.0**PRECISION - masses.shape[-1]
    found = np.floor(masses * (free / total))
    largest = masses.argmax(-1)[..., None]
    missing = free - found.sum(-1, keepdims=True)
    np.put_along_axis(found, largest, np.take_along_axis(found, largest, -1) + missing, -1)
    return found + 1.0


def code(distribution: ValueDistribution, coder: Coder, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Write or read one value for each entry of a distribution of batch shape (n,).

    Args:
        wanted (`Tensor` (n, V), int64, or `None`): Indices of the levels to write; `None`: read them.

    Returns:
        Indices of the levels (n, V) and, where they are written, their log-likelihood (n,) in nats; otherwise zeros.
    """
    parts = []
    for start in range(0, len(distribution.log_weights), CHUNK):
        chunk = slice(start, start + CHUNK)
        parts.append(_code_chunk(distribution[chunk], coder, None if wanted is None else wanted[chunk]))
    return torch.cat([index for index, _ in parts]), torch.cat([nats for _, nats in parts])


def _code_chunk(distribution: ValueDistribution, coder: Coder, wanted: Tensor | None) -> tuple[Tensor, Tensor]:
    levels, components = distribution.quantiser, distribution.components
    count, (channels,) = len(distribution.log_weights), distribution.event_shape
    log_weights = distribution.log_weights
    index = torch.zeros(count, channels, dtype=torch.int64)
    values = torch.zeros(count, 1, channels)
    for channel in range(channels):
        log_stds = components.log_stds[..., min(channel, components.log_stds.shape[-1] - 1)]
        means = components.conditional_means(values)[..., channel]
        steps = MixtureSteps(levels, means.contiguous(), torch.exp(-log_stds), log_weights.softmax(-1))
        index[:, channel] = steps.code(coder, None if wanted is None else wanted[:, channel])
        values[:, 0, channel] = levels.at(index[:, channel])
        if wanted is None and channel == channels - 1:
            return index, torch.zeros(count)
        one = ChannelGaussians(means[..., None], log_stds[..., None])
        # What the channel says of the component that the value is from.
        log_weights = log_weights + one.log_cell_masses(values[..., channel : channel + 1], levels)[..., 0]
    return index, log_weights.logsumexp(-1)


class MixtureSteps:
    """One channel of n values: codes a level's group, then the level inside it.

    Args:
        means, inverse, weights (`Tensor` (n, B)): Mean, 1 / std and weight of each component.
    """

    def __init__(self, levels: Levels, means: Tensor, inverse: Tensor, weights: Tensor):
        self.means, self.weights = means[:, None], weights[:, None]
        self.inverse = (inverse * math.sqrt(0.5))[:, None]
        count = levels.last + 1
        self.size = math.isqrt(count - 1) + 1  # levels in a group
        groups = -(-count // self.size)
        edges = levels.at(torch.arange(count - 1) + 0.5)  # between level i and level i + 1
        self.edges = F.pad(edges, (0, groups * self.size - len(edges)), value=math.inf)
        self.between = self.edges[self.size - 1 :: self.size][: groups - 1]  # between groups

    def below(self, edges: Tensor) -> Tensor:
        """Mass (n, E) of the mixture below edges (n or 1, E)."""
        standard = (edges[..., None] - self.means).mul_(self.inverse)
        return standard.erf_().mul_(self.weights).sum(-1).mul_(0.5).add_(0.5)

    def code(self, coder: Coder, wanted: Tensor | None) -> Tensor:
        """Write the levels with indices `wanted` (n,), or read them; returns the indices."""
        below = F.pad(self.below(self.between[None]), (1, 0))
        below = F.pad(below, (0, 1), value=1.0)
        group = self._step(coder, below, None if wanted is None else wanted // self.size)
        inside = self.below(self.edges[group[:, None] * self.size + torch.arange(self.size - 1)])
        ends = below.gather(1, group[:, None]), below.gather(1, group[:, None] + 1)
        level = self._step(
            coder, torch.cat((ends[0], inside, ends[1]), 1), None if wanted is None else wanted % self.size
        )
        return group * self.size + level

    @staticmethod
    def _step(coder: Coder, below: Tensor, wanted: Tensor | None) -> Tensor:
        frequencies = integer_frequencies(below.diff(dim=1).numpy())
        symbols = coder(frequencies, None if wanted is None else wanted.numpy())
        return torch.from_numpy(symbols.astype(np.int64))
