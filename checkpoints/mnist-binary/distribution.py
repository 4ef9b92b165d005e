"""The distribution of a value at one position: a mixture of Gaussians, one per bin, exact for quantised values."""

import math
import numbers

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from .gaussians import ChannelGaussians, tail
from .levels import Levels

LOG_STDS = (-20.0, 20.0)
BISECTIONS = 20  # halvings of the stretch that holds a quantile


class ValueDistribution(Distribution):
    r"""Mixture of Gaussians over bins, as in Eq. 1-2 of Tulsiani & Gupta (ICML 2021), normalised unlike there:

    $$p(v) = \sum_b q_b \, \mathcal N(v;\, m_b, \sigma_b^2 I)$$

    With `coefficients` $a$, the channels of a component depend on each other: the mean of each moves with the channels
    before it (Salimans et al., PixelCNN++, ICLR 2017, Eq. 3), and each has a standard deviation of its own:
    $v_c \sim \mathcal N(m_{bc} + \sum_{j<c} a_{bcj} (v_j - m_{bj}),\, \sigma_{bc}^2)$.

    With a `quantization_step`, a value is a draw from p, clamped to `value_range` and rounded to the nearest level,
    channel by channel. `log_prob` is then the log of a probability in nats: the mixture's mass in the
    interval that rounds to the level (the cell of the level; the outermost ones include the tails). Divide by
    -V log 2 for bits per dimension. Without a `quantization_step`, `log_prob` is a log-density.

    All results are float32, whatever the dtype of the arguments. Below, B is the number of bins, not the batch size.

    Args:
        logits (`Tensor` of shape `(*batch, B)`): Unnormalised log-probabilities of the bins.
        means (`Tensor` of shape `(*batch, B, V)`): Component means.
        log_stds (`Tensor` of shape `(*batch, B)` or `(*batch, B, V)`): Log of the components' standard deviations:
            one for all channels, or one for each channel given the channels before it.
        value_range (`tuple[float, float]` or `None`): Smallest and largest value.
        quantization_step (`float` or `None`): Distance between two levels; needs a `value_range`.
        bin_centers (`Tensor` of shape `(B, V)` or `None`): Values that the bins stand for, to draw a histogram.
        coefficients (`Tensor` of shape `(*batch, B, V (V - 1) / 2)` or `None`): Coefficients of the second channel by
            the first, of the third by the first and second, …; `None`: channels of a component are independent.

    Example:

    ```python
    >>> import torch
    >>> d = ValueDistribution(torch.zeros(1, 2), torch.tensor([[[0.2], [0.8]]]), torch.full((1, 2), -3.0))
    >>> d.mean
    tensor([[0.5000]])
    >>> d.log_prob(torch.tensor([[0.2]])).shape, d.sample((5,)).shape
    (torch.Size([1]), torch.Size([5, 1, 1]))

    ```
    """

    arg_constraints: dict = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = False

    def __init__(
        self,
        logits: Tensor,
        means: Tensor,
        log_stds: Tensor,
        value_range: tuple[float, float] | None = None,
        quantization_step: float | None = None,
        bin_centers: Tensor | None = None,
        coefficients: Tensor | None = None,
    ):
        # Beyond these bounds a Gaussian is a point, or flat, for any data, and float32 arithmetic breaks down.
        log_stds = log_stds.float().clamp(*LOG_STDS)
        coefficients = None if coefficients is None else coefficients.float()
        shared = (value_range, quantization_step, bin_centers)
        self._set(logits.float().log_softmax(-1), means.float(), log_stds, *shared, coefficients)

    def _set(
        self, log_weights, means, log_stds, value_range, quantization_step, bin_centers, coefficients=None
    ) -> None:
        self.log_weights = log_weights  # (*batch, B)
        self.means = means  # (*batch, B, V)
        self.log_stds = log_stds  # (*batch, B) or (*batch, B, V)
        self.coefficients = coefficients  # (*batch, B, V (V - 1) / 2)
        self.value_range = tuple(value_range) if value_range is not None else None
        self.quantization_step = quantization_step
        self.bin_centers = bin_centers
        self.quantiser = Levels.of(self.value_range, quantization_step)
        super().__init__(self.log_weights.shape[:-1], self.means.shape[-1:], validate_args=False)

    @property
    def components(self) -> ChannelGaussians:
        """The mixture's components, of batch shape `(*batch, B)`."""
        return ChannelGaussians(self.means, self._channel_log_stds, self.coefficients)

    @property
    def probs(self) -> Tensor:
        """Probability of each bin, `(*batch, B)`: the histogram of the value."""
        return self.log_weights.exp()

    @property
    def levels(self) -> Tensor:
        """All values that a channel can take, `(L,)`. Raises `ValueError` if values are not quantised."""
        if self.quantiser is None:
            raise ValueError("levels: values of this distribution are not quantised")
        return self.quantiser.all(self.means.device)

    @classmethod
    def normalized(
        cls,
        log_weights: Tensor,
        means: Tensor,
        log_stds: Tensor,
        value_range: tuple[float, float] | None = None,
        quantization_step: float | None = None,
        bin_centers: Tensor | None = None,
        coefficients: Tensor | None = None,
    ) -> "ValueDistribution":
        """Build a distribution from float32 parts: normalised log-weights, and log-stds that are within bounds."""
        self = cls.__new__(cls)
        self._set(log_weights, means, log_stds, value_range, quantization_step, bin_centers, coefficients)
        return self

    @property
    def parts(self) -> dict[str, Tensor]:
        """The parameters of the components by name; the first dimensions of each are the batch's."""
        parts = {"log_weights": self.log_weights, "means": self.means, "log_stds": self.log_stds}
        return parts if self.coefficients is None else parts | {"coefficients": self.coefficients}

    def with_parts(self, **parts: Tensor) -> "ValueDistribution":
        """A copy in which some of `parts` are replaced."""
        shared = (self.value_range, self.quantization_step, self.bin_centers)
        parts = self.parts | parts
        components = (parts["log_weights"], parts["means"], parts["log_stds"])
        return ValueDistribution.normalized(*components, *shared, parts.get("coefficients"))

    def expand(self, batch_shape: torch.Size, _instance=None) -> "ValueDistribution":
        """The same distribution with a larger batch shape."""
        kept = len(self.batch_shape)
        return self.with_parts(
            **{name: part.expand(*batch_shape, *part.shape[kept:]) for name, part in self.parts.items()}
        )

    def __getitem__(self, index) -> "ValueDistribution":
        """Index the batch dimensions, like a tensor of shape `batch_shape`."""
        if isinstance(index, tuple) and Ellipsis in index:
            raise IndexError("ValueDistribution: an index without Ellipsis was expected")
        index = (*(index if isinstance(index, tuple) else (index,)), slice(None))  # never indexes bins
        return self.with_parts(**{name: part[index] for name, part in self.parts.items()})

    @classmethod
    def cat(cls, parts: list["ValueDistribution"], dim: int) -> "ValueDistribution":
        """Concatenate distributions along the batch dimension `dim`, counted from the front."""
        return parts[0].with_parts(
            **{name: torch.cat([part.parts[name] for part in parts], dim) for name in parts[0].parts}
        )

    @property
    def _channel_log_stds(self) -> Tensor:
        """Log-stds (*batch, B, 1 or V)."""
        return self.log_stds if self.log_stds.dim() == self.means.dim() else self.log_stds.unsqueeze(-1)

    def tempered(self, temperature: float) -> "ValueDistribution":
        """The distribution that `sample(temperature=temperature)` draws from.

        The weights and each Gaussian are raised to the power 1 / temperature and normalised: weights become
        softmax(log q / T), and standard deviations are multiplied by √T. At 0, only the most probable bin's mean
        remains.

        Raises:
            ValueError: for a temperature that is negative or not finite.
        """
        temperature = check_temperature(temperature)
        if temperature == 1:
            return self
        from_best = self.log_weights - self.log_weights.amax(-1, keepdim=True)
        if temperature == 0:
            best = torch.zeros_like(from_best).scatter_(-1, from_best.argmax(-1, keepdim=True), 1.0)
            log_weights, change = best.log(), -math.inf
        else:
            log_weights, change = (from_best / temperature).log_softmax(-1), 0.5 * math.log(temperature)
        return self.with_parts(log_weights=log_weights, log_stds=(self.log_stds + change).clamp(*LOG_STDS))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-likelihood in nats, `(*sample, *batch)`, of values `(*sample, *batch, V)`.

        A value between two levels counts as the nearer level, a value outside the range as the outermost one.
        """
        value = value.float().unsqueeze(-2)  # (..., 1, V)
        if self.quantiser is None:
            component = self.components.log_density(value)
        else:
            component = self.components.log_cell_masses(value, self.quantiser).sum(-1)
        return (self.log_weights + component).logsumexp(-1)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, both `(*batch, V)`; cheaper than `mean` and `variance` separately.

        They are the moments of what `sample` draws: each channel is clamped to the range, and then moves the means of
        the channels after it. Rounding to levels is ignored; it adds at most step² / 4 to the variance.
        """
        weights = self.probs.unsqueeze(-1)
        if self.quantiser is None:
            mean, variance = self.components.moments()
        else:
            mean, variance = self.components.clamped_moments(*self.value_range, self.probs)
        overall = (weights * mean).sum(-2, keepdim=True)
        return overall.squeeze(-2), (weights * (variance + (mean - overall).square())).sum(-2)

    @property
    def marginal_stds(self) -> Tensor:
        """Marginal standard deviation of each component's channels, (*batch, B, 1 or V)."""
        return self.components.marginal_stds()

    @property
    def mean(self) -> Tensor:
        """Expected value, `(*batch, V)`; inside the value range."""
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        """Variance of each channel, `(*batch, V)` (see `moments`)."""
        return self.moments[1]

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each channel, `(*batch, V)`."""
        return self.variance.sqrt()

    @property
    def mode(self) -> Tensor:
        """Most probable value, `(*batch, V)`.

        Exact for one quantised channel. Otherwise the maximum of a mixture has no closed form, and the result is the
        most probable of the components' modes, which is close to it unless components overlap.
        """
        if self.quantiser is not None and self.event_shape[0] == 1:
            return self.levels[self._log_masses().argmax(-1)].unsqueeze(-1)
        candidates = self._component_modes().movedim(-2, 0)  # (B, *batch, V)
        best = torch.stack([self.log_prob(candidate) for candidate in candidates]).argmax(0)  # (*batch,)
        index = best[None, ..., None].expand(1, *best.shape, candidates.shape[-1])
        return candidates.gather(0, index)[0]

    def cdf(self, value: Tensor) -> Tensor:
        """Probability, `(*sample, *batch, V)`, that each channel is at most its `value` `(*sample, *batch, V)`.

        Where a channel depends on earlier ones, it is computed as if these were not clamped to the range. A value
        between two levels counts as the nearer level.
        """
        return self._mixture_cdf(value if self.quantiser is None else self.quantiser.upper_edge(value))

    def icdf(self, probability: Tensor | float, bisections: int = BISECTIONS) -> Tensor:
        """The smallest value of each channel with at least this `cdf`, `(*sample, *batch, V)`: a quantile.

        Found by bisection, to 2^-bisections of the spread of the components' quantiles; 0.5 gives medians.

        Args:
            probability (`Tensor` that broadcasts to `(*sample, *batch, V)`, or `float`): Above 0 and below 1.

        Raises:
            ValueError: for a probability that is not between 0 and 1.
        """
        probability = torch.as_tensor(probability, dtype=torch.float64, device=self.means.device)
        if not ((probability > 0) & (probability < 1)).all():
            raise ValueError(f"probability: expected numbers above 0 and below 1, got {probability}")
        normal = torch.special.ndtri(probability).float()
        quantiles = self.means + self.marginal_stds * normal.unsqueeze(-2 if normal.dim() else 0)
        low, high = quantiles.amin(-2), quantiles.amax(-2)
        for _ in range(bisections):
            middle = (low + high) / 2
            short = self._mixture_cdf(middle) < probability
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return high if self.quantiser is None else self.quantiser.nearest(high)

    def _mixture_cdf(self, value: Tensor) -> Tensor:
        """`cdf` before clamping and rounding; 0 and, up to rounding, 1 at infinite values."""
        weights = self.probs.unsqueeze(-1)
        below = tail((self.means - value.float().unsqueeze(-2)) / self.marginal_stds)
        return (weights * below).sum(-2) / weights.sum(-2)

    def sample(
        self,
        sample_shape: tuple[int, ...] | torch.Size = (),
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw values, `(*sample_shape, *batch, V)`.

        Args:
            temperature (`float`): See `tempered`; 0 takes the most probable bin's mean.
            generator (`torch.Generator` or `None`): Source of randomness on the distribution's device.
        """
        temperature, shape = check_temperature(temperature), tuple(sample_shape)
        with torch.no_grad():
            uniform = torch.rand(shape + self.log_weights.shape, generator=generator, device=self.means.device)
            noise = torch.randn(
                shape + self.batch_shape + self.event_shape, generator=generator, device=self.means.device
            )
            # Gumbel's trick: argmax(log q / T + g) is a draw from softmax(log q / T), also at T = 0.
            gumbel = uniform.clamp_(1e-20, 1 - 6e-8).log_().neg_().log_()  # negated in the next line
            scores = torch.sub(self.log_weights, gumbel, alpha=temperature)
            return self._drawn(scores.argmax(-1, keepdim=True), noise, temperature)

    def draw(self, choice: Tensor, noise: Tensor) -> Tensor:
        """Draw values `(*sample, *batch, V)` with given random numbers.

        Equal numbers give equal values, and similar distributions give similar values.

        Args:
            choice (`Tensor` of shape `(*sample, *batch)`): Uniform in (0, 1); selects the bin.
            noise (`Tensor` of shape `(*sample, *batch, V)`): Standard normal.
        """
        cumulative = self.probs.cumsum(-1)
        # The sum may differ from 1 by rounding, and a float32 may round to 1: the index must stay within the bins.
        aim = choice.unsqueeze(-1).clamp(max=1 - 6e-8) * cumulative[..., -1:]
        return self._drawn((cumulative <= aim).sum(-1, keepdim=True), noise)

    def _drawn(self, chosen: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """Draw values (..., V) from the chosen bins (..., 1) with standard normal noise (..., V)."""

        def of_chosen(part: Tensor) -> Tensor:  # (*batch, B, C) -> (..., C)
            index = chosen.unsqueeze(-1).expand(*chosen.shape, part.shape[-1])
            return part.expand(*chosen.shape[:-1], *part.shape[-2:]).gather(-2, index).squeeze(-2)

        coefficients = None if self.coefficients is None else of_chosen(self.coefficients)
        gaussians = ChannelGaussians(of_chosen(self.means), of_chosen(self._channel_log_stds), coefficients)
        return gaussians.draw(noise, temperature, self.quantiser)

    def entropy(self, num_samples: int = 256) -> Tensor:
        """Entropy in nats, `(*batch,)`.

        Exact for one quantised channel (a sum over its levels). Otherwise the mean of -log p over `num_samples` draws
        with a fixed seed, so that equal distributions have equal entropies.
        """
        with torch.no_grad():
            if self.quantiser is not None and self.event_shape[0] == 1:
                log_mass = self._log_masses()
                return -(log_mass.exp() * log_mass).sum(-1)
            generator = torch.Generator(self.means.device).manual_seed(0)
            total = torch.zeros(self.batch_shape, device=self.means.device)
            for _ in range(num_samples):
                total -= self.log_prob(self.sample(generator=generator))
            return total / num_samples

    def _log_masses(self) -> Tensor:
        """Log-mass of every level of one quantised channel, (*batch, L)."""
        return torch.stack([self.log_prob(level.expand(self.batch_shape + (1,))) for level in self.levels], -1)

    def _component_modes(self) -> Tensor:
        """Most probable value of each component, (*batch, B, V): the level of its mean, or an end that holds a tail."""
        levels, components = self.quantiser, self.components
        if levels is None:
            return self.means
        modes = levels.nearest(self.means)
        # Channel by channel, as each has its mean from the earlier ones.
        for channel in range(1 if self.coefficients is None else self.means.shape[-1]):
            part = slice(None) if self.coefficients is None else slice(channel, channel + 1)
            candidates = []
            for candidate in (levels.nearest(components.conditional_means(modes)), levels.low, levels.high):
                candidates.append(modes.clone())
                candidates[-1][..., part] = candidate if isinstance(candidate, float | int) else candidate[..., part]
            candidates = torch.stack(candidates)
            masses = torch.stack([components.log_cell_masses(given, levels)[..., part] for given in candidates])
            modes[..., part] = candidates[..., part].gather(0, masses.argmax(0, keepdim=True))[0]
        return modes


def check_temperature(temperature: float) -> float:
    """`temperature` as a `float`. Raises `ValueError` unless it is a finite number that is not negative."""
    real = isinstance(temperature, numbers.Real) and not isinstance(temperature, bool | np.bool_)
    if not (real and math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature: expected a finite number of at least 0, got {temperature!r}")
    return float(temperature)
