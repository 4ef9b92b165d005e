"""The components of a value distribution: Gaussians whose channels may depend on earlier channels."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .levels import Levels, LogGaussianMass, log_gaussian_mass

MATTERS = 1e-3  # a mixture is integrated numerically if clamping earlier channels moves it further than this
NODES, WEIGHTS = (torch.from_numpy(part).float() for part in np.polynomial.legendre.leggauss(10))
MOST_NODES = 1 << 22  # most integration nodes in memory at a time


@dataclass(frozen=True)
class ChannelGaussians:
    r"""Gaussians in which channel c has the mean $m_c + \sum_{j<c} a_{cj} (v_j - m_j)$ given earlier channels $v_j$.

    $A = (a_{cj})$ is strictly lower triangular: without clamping the covariance is $L L^T$ with
    $L = (1 - A)^{-1} \operatorname{diag}(\sigma)$.

    Args:
        means (`Tensor` (*batch, V)): m.
        log_stds (`Tensor` (*batch, 1 or V)): log σ: for all channels, or for each, conditional on earlier ones.
        coefficients (`Tensor` (*batch, V (V - 1) / 2) or `None`): The entries of A below its diagonal, row by row;
            `None`: 0.
    """

    means: Tensor
    log_stds: Tensor
    coefficients: Tensor | None = None

    def rows(self) -> list[tuple[Tensor, ...]]:
        """The rows of A without zeros: for channel c its c coefficients, each of the batch's shape."""
        entries = () if self.coefficients is None else self.coefficients.unbind(-1)
        if not entries:
            return [()] * self.means.shape[-1]
        return [entries[c * (c - 1) // 2 : c * (c + 1) // 2] for c in range(self.means.shape[-1])]

    def conditional_means(self, values: Tensor) -> Tensor:
        """Mean (…, V) of each channel given the earlier channels of `values` (…, V)."""
        if self.coefficients is None:
            return self.means
        distances = (values - self.means).unbind(-1)
        means = []
        for mean, row in zip(self.means.unbind(-1), self.rows(), strict=True):
            for coefficient, distance in zip(row, distances, strict=False):
                mean = torch.addcmul(mean, coefficient, distance)
            means.append(mean.expand_as(distances[0]))
        return torch.stack(means, -1)

    def log_density(self, values: Tensor) -> Tensor:
        """Log-density (…) of values (…, V)."""
        standard = (values - self.conditional_means(values)) / self.log_stds.exp()
        channels = self.means.shape[-1]
        spread = self.log_stds.expand_as(self.means).sum(-1) + 0.5 * channels * math.log(2 * math.pi)
        return -0.5 * standard.square().sum(-1) - spread

    def log_cell_masses(self, values: Tensor, levels: Levels) -> Tensor:
        """Log-mass (…, B, V) of each channel's cell given the earlier channels, for batch shape (…, B).

        Args:
            values (`Tensor` (…, 1 or B, V)): Values; each counts as its nearest level.
        """
        index = levels.index(values)
        lower, upper = levels.edges(index)
        means = self.conditional_means(levels.at(index))
        bins, channels = means.shape[-2:]
        own, width = values.shape[-2], self.log_stds.shape[-1]
        # `torch.broadcast_shapes` would take as long as the arithmetic of a sampler's pass.
        rows = torch.broadcast_tensors(values[..., 0, 0], means[..., 0, 0])[0].shape
        lower, upper = (edge.expand(*rows, own, channels).reshape(-1, own, channels) for edge in (lower, upper))
        means = means.expand(*rows, bins, channels).reshape(-1, bins, channels)
        log_stds = self.log_stds.expand(*rows, bins, width).reshape(-1, bins, width)
        if torch.is_grad_enabled():
            masses = LogGaussianMass.apply(means, log_stds, lower, upper)
        else:  # calls through autograd add up
            masses = log_gaussian_mass(means, log_stds, lower, upper)[0]
        return masses.view(*rows, bins, channels)

    def draw(self, noise: Tensor, temperature: float, levels: Levels | None) -> Tensor:
        """Draw values from standard normal `noise` (…, V), channel by channel, each given the earlier drawn ones."""
        moved = torch.addcmul(self.means, self.log_stds.exp(), noise, value=math.sqrt(temperature))
        if self.coefficients is None:
            return moved if levels is None else levels.nearest(moved)
        drawn: list[Tensor] = []
        distances: list[Tensor] = []
        for mean, value, row in zip(self.means.unbind(-1), moved.unbind(-1), self.rows(), strict=True):
            for coefficient, distance in zip(row, distances, strict=True):
                value = torch.addcmul(value, coefficient, distance)
            drawn.append(value if levels is None else levels.nearest(value))
            distances.append(drawn[-1] - mean)
        return torch.stack(drawn, -1)

    def marginal_stds(self) -> Tensor:
        """Marginal standard deviation of each channel without clamping, (*batch, 1 or V)."""
        stds = self.log_stds.exp()
        if self.coefficients is None:
            return stds
        stds = stds.expand_as(self.means)
        inverse: list[Tensor] = []  # rows of (1 - A)⁻¹: how far a channel moves with the noise of each channel
        for own, row in zip(torch.eye(self.means.shape[-1], device=stds.device), self.rows(), strict=True):
            moves = own.expand_as(stds)
            for coefficient, earlier in zip(row, inverse.copy(), strict=True):
                moves = torch.addcmul(moves, coefficient.unsqueeze(-1), earlier)
            inverse.append(moves)
        return torch.stack([(moves * stds).square().sum(-1) for moves in inverse], -1).sqrt()

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel without clamping, both (*batch, V)."""
        stds = self.marginal_stds()
        return self.means, (stds * stds).expand_as(self.means)

    def clamped_moments(self, low: float, high: float, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, both (*batch, V), when each is clamped to [low, high] as it is drawn.

        The first channel, and all channels if they are independent, have closed forms. A later channel depends on
        clamped earlier channels. Where clamping moves it noticeably, its moments are integrated numerically over the
        earlier channels. Elsewhere, the earlier channels are treated as Gaussians with the mean and covariance that
        they have after clamping.

        Args:
            weights (`Tensor` (*batch)): Weight of each component in its mixture.
        """
        if self.coefficients is None:
            return clamped_gaussian(self.means, self.log_stds.exp(), low, high)
        mean, variance, moved = self._approximate_moments(low, high)
        chosen = weights * moved > MATTERS
        if torch.compiler.is_exporting():  # a graph cannot depend on how many there are: all are integrated
            parts = (x.flatten(0, -2) for x in (self.means, self.log_stds, self.coefficients))
            exact = (part.view_as(mean) for part in ChannelGaussians(*parts)._integrated_moments(low, high))
            return tuple(torch.where(chosen[..., None], *pair) for pair in zip(exact, (mean, variance), strict=True))
        if not chosen.any():
            return mean, variance
        size = max(1, MOST_NODES // (len(NODES) + 2) ** (self.means.shape[-1] - 1))
        parts = zip(*(x[chosen].split(size) for x in (self.means, self.log_stds, self.coefficients)), strict=True)
        exact = zip(*(ChannelGaussians(*part)._integrated_moments(low, high) for part in parts), strict=True)
        index = chosen.nonzero(as_tuple=True)
        mean, variance = (x.index_put(index, torch.cat(part)) for x, part in zip((mean, variance), exact, strict=True))
        return mean, variance

    def _approximate_moments(self, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and variance (*batch, V) with clamped earlier channels replaced by Gaussians of equal moments.

        The third result (*batch) is an upper bound on how far clamping earlier channels moves a later one.
        """
        stds = self.log_stds.exp().expand_as(self.means).unbind(-1)
        means, shifts, lost = [], [], []
        covariance: list[list[Tensor]] = []  # of the clamped channels; row c up to its own variance
        moved = torch.zeros_like(self.means[..., 0])
        for mean, std, row in zip(self.means.unbind(-1), stds, self.rows(), strict=True):
            center, spread = mean, std * std
            with_earlier = []  # covariance with each earlier channel, before this one is clamped
            for number, coefficient in enumerate(row):
                center = torch.addcmul(center, coefficient, shifts[number])
                parts = (row[k] * covariance[max(number, k)][min(number, k)] for k in range(len(row)))
                with_earlier.append(sum(parts))
                spread = torch.addcmul(spread, coefficient, with_earlier[-1])
                moved = torch.maximum(moved, coefficient.abs() * lost[number])
            overall_std = spread.clamp(min=1e-14).sqrt()
            clamped, variance = clamped_gaussian(center, overall_std, low, high)
            kept = 1 - tail((center - low) / overall_std) - tail((high - center) / overall_std)
            lost.append(overall_std * (1 - kept))
            covariance.append([*(kept * part for part in with_earlier), variance])
            means.append(clamped)
            shifts.append(clamped - mean)
        return torch.stack(means, -1), torch.stack([row[-1] for row in covariance], -1), moved

    def _integrated_moments(self, low: float, high: float) -> tuple[Tensor, Tensor]:
        """`clamped_moments` for batch shape (N,), summed over all combinations of nodes of the earlier channels."""
        stds = self.log_stds.exp().expand_as(self.means).unbind(-1)
        share = torch.ones_like(self.means[:, :1])  # (N, nodes)
        distances: list[Tensor] = []  # of the earlier channels from their means, each (N, nodes)
        means, variances = [], []
        for mean, std, row in zip(self.means.unbind(-1), stds, self.rows(), strict=True):
            center = mean[:, None].expand_as(share)
            for coefficient, distance in zip(row, distances, strict=True):
                center = torch.addcmul(center, coefficient[:, None], distance)
            given = clamped_gaussian(center, std[:, None], low, high)
            overall = (share * given[0]).sum(-1, keepdim=True)
            means.append(overall.squeeze(-1))
            variances.append((share * (given[1] + (given[0] - overall).square())).sum(-1))
            if len(means) == self.means.shape[-1]:
                break
            points, weights = clamped_nodes(center, std[:, None], low, high)  # (N, nodes, further nodes)
            distances = [distance[..., None].expand_as(points).flatten(1) for distance in distances]
            distances.append((points - mean[:, None, None]).flatten(1))
            share = (share[..., None] * weights).flatten(1)
        return torch.stack(means, -1).clamp(low, high), torch.stack(variances, -1)


def tail(distance: Tensor) -> Tensor:
    """Mass of a standard Gaussian above `distance`."""
    return 0.5 * torch.erfc(distance * math.sqrt(0.5))


def clamped_gaussian(mean: Tensor, std: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of Gaussians clamped to [low, high]: their tails become point masses at the ends.

    A tail that begins t standard deviations σ from the mean m moves the mean inwards by σ h(t), h(t) = φ(t) - t Φ(-t),
    and reduces E (x - m)² / σ² by t h(t) + Φ(-t).
    """
    inwards, left = [], 1.0
    for distance in (mean - low, high - mean):
        # Beyond 8 the tail is a denormal number, and CPUs are slow with those.
        t = (distance / std).clamp(max=8.0)
        beyond = tail(t)
        moved = torch.exp(-0.5 * t * t - 0.5 * math.log(2 * math.pi)) - t * beyond
        inwards.append(moved)
        left = left - (t * moved + beyond)
    shift = inwards[0] - inwards[1]
    clamped = (mean + std * shift).clamp(low, high)
    return clamped, (std * std * (left - shift * shift)).clamp(min=0)


def clamped_nodes(mean: Tensor, std: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Points (…, n) and weights (…, n) that integrate functions of a Gaussian clamped to [low, high].

    The two ends carry the masses of the tails. Between them are Gauss-Legendre nodes, at most 5 standard deviations to
    each side.
    """
    left, right = ((mean + side * 5 * std).clamp(low, high)[..., None] for side in (-1, 1))
    nodes = (left + right) / 2 + (right - left) / 2 * NODES.to(mean.device)
    standard = (nodes - mean[..., None]) / std[..., None]
    density = torch.exp(-0.5 * standard * standard) * WEIGHTS.to(mean.device)
    below, above = tail((mean - low) / std), tail((high - mean) / std)
    inside = (1 - below - above).clamp(min=0)
    density = density * (inside / density.sum(-1).clamp(min=1e-30))[..., None]
    ends = [torch.full_like(mean, end)[..., None] for end in (low, high)]
    return torch.cat((*ends, nodes), -1), torch.cat((below[..., None], above[..., None], density), -1)
