"""The distribution of a value at one place: a mixture with one Gaussian per bin, exact on quantised values."""

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints

# Highest power first.
_ERFC = (0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807)
_ERFC += (-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223)
LOG_SCALES = (-20.0, 20.0)


class ValueDistribution(Distribution):
    r"""Mixture over bins, Eq. 1-2 of Tulsiani & Gupta (ICML 2021) with its normalisation kept:

    $$p(v) = \sum_b q_b \, \mathcal N(v;\, m_b, \sigma_b^2 I)$$

    or, with `coefficients` $a$, with channels that depend on each other: each has a mean that moves with those before
    it (Salimans et al., PixelCNN++, ICLR 2017, Eq. 3) and a deviation of its own,
    $v_c \sim \mathcal N(m_{bc} + \sum_{j<c} a_{bcj} (v_j - m_{bj}),\, \sigma_{bc}^2)$.

    With a `quantization_step` the value is what is left of a draw from p after clamping it to `value_range` and
    rounding it to the nearest level, channel by channel: `log_prob` is the mixture's mass in the value's cell (the
    outermost cells take the tails), in nats, and divided by V log 2 it is in bits per dimension. Without one `log_prob`
    is the density.

    All numbers are computed in float32, whatever the dtype of the arguments.

    Args:
        logits (`Tensor` of shape `(*batch, B)`): Unnormalised log-probabilities of the bins.
        means (`Tensor` of shape `(*batch, B, V)`): Component means.
        log_scales (`Tensor` of shape `(*batch, B)` or `(*batch, B, V)`): Log of the components' standard deviation, one
            for all channels or one for each, given the channels before it.
        value_range (`tuple[float, float]` or `None`): Smallest and largest value.
        quantization_step (`float` or `None`): Distance of two levels; needs a `value_range`.
        bin_centers (`Tensor` of shape `(B, V)` or `None`): What the bins stand for, for drawing a histogram.
        coefficients (`Tensor` of shape `(*batch, B, V (V - 1) / 2)` or `None`): Of the second channel by the first, of
            the third by the first and the second, …; `None`: channels are independent in a component.

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
        log_scales: Tensor,
        value_range: tuple[float, float] | None = None,
        quantization_step: float | None = None,
        bin_centers: Tensor | None = None,
        coefficients: Tensor | None = None,
    ):
        if quantization_step is not None and value_range is None:
            raise ValueError("value_range: expected the smallest and largest value with a quantization_step, got None")
        # Beyond these bounds a scale is a point or a plain for any data, and float32 arithmetic breaks down.
        log_scales = log_scales.float().clamp(*LOG_SCALES)
        coefficients = None if coefficients is None else coefficients.float()
        shared = (value_range, quantization_step, bin_centers)
        self._set(logits.float().log_softmax(-1), means.float(), log_scales, *shared, coefficients)

    def _set(
        self, log_weights, means, log_scales, value_range, quantization_step, bin_centers, coefficients=None
    ) -> None:
        self.log_weights = log_weights  # (*batch, B)
        self.means = means  # (*batch, B, V)
        self.log_scales = log_scales  # (*batch, B) or (*batch, B, V)
        self.coefficients = coefficients  # (*batch, B, V (V - 1) / 2)
        self.value_range = tuple(value_range) if value_range is not None else None
        self.quantization_step = quantization_step
        self.bin_centers = bin_centers
        super().__init__(self.log_weights.shape[:-1], self.means.shape[-1:], validate_args=False)

    @property
    def probs(self) -> Tensor:
        """Probability of each bin, `(*batch, B)`: the histogram of the value."""
        return self.log_weights.exp()

    @property
    def levels(self) -> Tensor:
        """All values that a channel can take, `(L,)`. Raises `ValueError` where values are not quantised."""
        if self.quantization_step is None:
            raise ValueError("levels: values of this distribution are not quantised")
        low, high = self.value_range
        count = round((high - low) / self.quantization_step) + 1
        return low + self.quantization_step * torch.arange(count, device=self.means.device)

    @classmethod
    def normalized(
        cls,
        log_weights: Tensor,
        means: Tensor,
        log_scales: Tensor,
        value_range: tuple[float, float] | None = None,
        quantization_step: float | None = None,
        bin_centers: Tensor | None = None,
        coefficients: Tensor | None = None,
    ) -> "ValueDistribution":
        """The distribution of these float32 components, whose log-weights are normalised and log-scales bounded."""
        self = cls.__new__(cls)
        self._set(log_weights, means, log_scales, value_range, quantization_step, bin_centers, coefficients)
        return self

    @property
    def parts(self) -> dict[str, Tensor]:
        """The tensors of the components by name, each with the batch's shape first."""
        parts = {"log_weights": self.log_weights, "means": self.means, "log_scales": self.log_scales}
        return parts if self.coefficients is None else parts | {"coefficients": self.coefficients}

    def with_parts(self, **parts: Tensor) -> "ValueDistribution":
        """Of the same values, with some of `parts` replaced."""
        shared = (self.value_range, self.quantization_step, self.bin_centers)
        parts = self.parts | parts
        components = (parts["log_weights"], parts["means"], parts["log_scales"])
        return ValueDistribution.normalized(*components, *shared, parts.get("coefficients"))

    def expand(self, batch_shape: torch.Size, _instance=None) -> "ValueDistribution":
        """The same distribution with a larger batch shape."""
        kept = len(self.batch_shape)
        return self.with_parts(
            **{name: part.expand(*batch_shape, *part.shape[kept:]) for name, part in self.parts.items()}
        )

    def __getitem__(self, index) -> "ValueDistribution":
        """Select along the batch dimensions, as a tensor of shape `batch_shape` would be indexed."""
        if isinstance(index, tuple) and Ellipsis in index:
            raise IndexError("ValueDistribution: an index without Ellipsis was expected")
        index = (*(index if isinstance(index, tuple) else (index,)), slice(None))  # of the batch alone, never of bins
        return self.with_parts(**{name: part[index] for name, part in self.parts.items()})

    @classmethod
    def cat(cls, parts: list["ValueDistribution"], dim: int) -> "ValueDistribution":
        """Concatenate distributions along a batch dimension (`dim` counted from the front)."""
        return parts[0].with_parts(
            **{name: torch.cat([part.parts[name] for part in parts], dim) for name in parts[0].parts}
        )

    @property
    def _channel_log_scales(self) -> Tensor:
        """Log-scales (*batch, B, 1 or V)."""
        return self.log_scales if self.log_scales.dim() == self.means.dim() else self.log_scales.unsqueeze(-1)

    def _means_given(self, value: Tensor) -> Tensor:
        """Mean of each channel of the components given the earlier channels of `value` (..., 1 or B, V)."""
        if self.coefficients is None:
            return self.means
        away, weights = (value - self.means).unbind(-1), iter(self.coefficients.unbind(-1))
        means = []
        for channel, mean in enumerate(self.means.unbind(-1)):
            for distance in away[:channel]:
                mean = torch.addcmul(mean, next(weights), distance)
            means.append(mean.expand_as(away[0]))
        return torch.stack(means, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-likelihood in nats, `(*sample, *batch)`, of values `(*sample, *batch, V)`.

        A value between two levels counts as the nearer one; one outside the range as the outermost.
        """
        value = value.float().unsqueeze(-2)  # (..., 1, V)
        if self.quantization_step is None:
            log_scales = self._channel_log_scales  # (*batch, B, 1 or V)
            standard = (value - self._means_given(value)) / log_scales.exp()
            channels = self.means.shape[-1]
            spread = log_scales.expand_as(self.means).sum(-1) + 0.5 * channels * math.log(2 * math.pi)
            component = -0.5 * standard.square().sum(-1) - spread
        else:
            component = self._log_cell_mass(value).sum(-1)
        return (self.log_weights + component).logsumexp(-1)

    def _log_cell_mass(self, value: Tensor) -> Tensor:
        """Log of each component's mass in the cell of `value` (..., 1 or B, V), per channel: (..., B, V)."""
        low, high = self.value_range
        step = self.quantization_step
        last = round((high - low) / step)
        level = ((value - low) / step).round().clamp(0, last)
        center = low + step * level
        lower = torch.where(level > 0, center - step / 2, -math.inf)
        upper = torch.where(level < last, center + step / 2, math.inf)
        shape = torch.broadcast_shapes(value.shape, self.means.shape)
        rows, (bins, channels), own = shape[:-2], shape[-2:], value.shape[-2]
        lower, upper = (edge.expand(*rows, own, channels).reshape(-1, own, channels) for edge in (lower, upper))
        means = self._means_given(center).expand(shape).reshape(-1, bins, channels)
        log_scales = self._channel_log_scales
        log_scales = log_scales.expand(*rows, bins, log_scales.shape[-1]).reshape(-1, bins, log_scales.shape[-1])
        return LogGaussianMass.apply(means, log_scales, lower, upper).view(shape)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel, both `(*batch, V)`, for less than the two one by one.

        Where channels depend on each other, as if a component were clamped after all of them were drawn.
        """
        mean, variance = self._component_moments
        weights = self.probs.unsqueeze(-1)
        overall = (weights * mean).sum(-2, keepdim=True)
        return overall.squeeze(-2), (weights * (variance + (mean - overall).square())).sum(-2)

    @property
    def marginal_scales(self) -> Tensor:
        """Standard deviation of each channel of the components, (*batch, B, 1 or V), whatever the others are."""
        scales = self._channel_log_scales.exp()
        if self.coefficients is None:
            return scales
        scales = scales.expand_as(self.means)
        # Row c tells how far channel c moves with the noise of each: the inverse of 1 - coefficients.
        rows: list[Tensor] = []
        weights = iter(self.coefficients.split(1, -1))
        for own in torch.eye(self.means.shape[-1], device=scales.device):
            row = own.expand_as(scales)
            for earlier in rows.copy():
                row = torch.addcmul(row, next(weights), earlier)
            rows.append(row)
        return torch.stack([(row * scales).square().sum(-1) for row in rows], -1).sqrt()

    @property
    def _component_moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each component (*batch, B, V), clamped to the range where values are quantised."""
        scale = self.marginal_scales
        if self.quantization_step is None:
            return self.means, (scale * scale).expand_as(self.means)
        # A Gaussian whose tails beyond both ends become point masses there. A tail that begins t deviations σ from the
        # mean m moves the mean inwards by h(t) = φ(t) - t Φ(-t) of them, and takes t h(t) + Φ(-t) from E (x - m)² / σ².
        low, high = self.value_range
        inwards, left = [], 1.0
        for distance in (self.means - low, high - self.means):
            t = (distance / scale).clamp(
                max=8.0
            )  # beyond, nothing is left but denormal numbers, which CPUs are slow at
            tail = 0.5 * torch.erfc(t * math.sqrt(0.5))
            moved = torch.exp(-0.5 * t * t - 0.5 * math.log(2 * math.pi)) - t * tail
            inwards.append(moved)
            left = left - (t * moved + tail)
        shift = inwards[0] - inwards[1]
        mean = (self.means + scale * shift).clamp(low, high)
        return mean, (scale * scale * (left - shift * shift)).clamp(min=0)

    @property
    def mean(self) -> Tensor:
        """Expected value, `(*batch, V)`; inside the value range."""
        return self.moments[0]

    @property
    def variance(self) -> Tensor:
        """Variance of each channel, `(*batch, V)` (rounding to a level, at most a quarter step², left out)."""
        return self.moments[1]

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of each channel, `(*batch, V)`."""
        return self.variance.sqrt()

    @property
    def mode(self) -> Tensor:
        """Most probable value, `(*batch, V)`.

        Exact for one quantised channel. Otherwise the maximum of a mixture has no closed form, and this is the most
        probable of its components' own modes: near it unless components merge.
        """
        if self.quantization_step is not None and self.event_shape[0] == 1:
            return self.levels[self._log_masses().argmax(-1)].unsqueeze(-1)
        candidates = self._component_modes().movedim(-2, 0)  # (B, *batch, V)
        best = torch.stack([self.log_prob(candidate) for candidate in candidates]).argmax(0)  # (*batch,)
        index = best[None, ..., None].expand(1, *best.shape, candidates.shape[-1])
        return candidates.gather(0, index)[0]

    def sample(
        self,
        sample_shape: tuple[int, ...] | torch.Size = (),
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw values, `(*sample_shape, *batch, V)`.

        Args:
            temperature (`float`): Each factor of the mixture (the choice of a bin, the Gaussian) is raised to the power
                1 / temperature; 0 takes the most probable bin's mean.
            generator (`torch.Generator` or `None`): Source of randomness on the distribution's device.
        """
        check_temperature(temperature)
        shape = tuple(sample_shape)
        with torch.no_grad():
            uniform = torch.rand(shape + self.log_weights.shape, generator=generator, device=self.means.device)
            noise = torch.randn(
                shape + self.batch_shape + self.event_shape, generator=generator, device=self.means.device
            )
            # Gumbel's trick: argmax(log q / T + g) is a draw from softmax(log q / T), also at T = 0. Much is done in
            # place, as in a step of the sampler the number of operations takes the time.
            gumbel = uniform.clamp_(1e-20, 1 - 6e-8).log_().neg_().log_()  # and the sign below
            scores = torch.sub(self.log_weights, gumbel, alpha=temperature)
            chosen = scores.argmax(-1, keepdim=True)  # (*shape, *batch, 1)

            def of_chosen(part: Tensor) -> Tensor:  # (*batch, B, C) -> (*shape, *batch, C)
                index = chosen.unsqueeze(-1).expand(*chosen.shape, part.shape[-1])
                return part.expand(shape + part.shape).gather(-2, index).squeeze(-2)

            mean, scale = of_chosen(self.means), of_chosen(self._channel_log_scales).exp()
            moved = torch.addcmul(mean, scale, noise, value=math.sqrt(temperature))
            if self.coefficients is None:
                return self._quantize(moved)
            return self._in_turn(mean, moved, of_chosen(self.coefficients))

    def _in_turn(self, means: Tensor, moved: Tensor, coefficients: Tensor) -> Tensor:
        """Draws (..., V) from draws `moved` of independent channels: each moves with the earlier ones as drawn."""
        drawn: list[Tensor] = []
        away: list[Tensor] = []
        weights = iter(coefficients.unbind(-1))
        for mean, value in zip(means.unbind(-1), moved.unbind(-1), strict=True):
            for distance in away:
                value = torch.addcmul(value, next(weights), distance)
            drawn.append(self._quantize(value))
            away.append(drawn[-1] - mean)
        return torch.stack(drawn, -1)

    def entropy(self, num_samples: int = 256) -> Tensor:
        """Entropy in nats, `(*batch,)`.

        Exact for one quantised channel (a sum over its levels); otherwise the mean of -log p over `num_samples` draws
        with a fixed seed, so that the same distribution always has the same entropy.
        """
        with torch.no_grad():
            if self.quantization_step is not None and self.event_shape[0] == 1:
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
        """The most probable value of each component, (*batch, B, V): its mean's level, or an end that takes a tail."""
        modes = self._quantize(self.means)
        if self.quantization_step is None:
            return modes
        # Channel by channel, as each has its mean from the earlier ones.
        for channel in range(1 if self.coefficients is None else self.means.shape[-1]):
            part = slice(None) if self.coefficients is None else slice(channel, channel + 1)
            candidates = []
            for candidate in (self._quantize(self._means_given(modes)), *self.value_range):
                candidates.append(modes.clone())
                candidates[-1][..., part] = candidate if isinstance(candidate, float | int) else candidate[..., part]
            candidates = torch.stack(candidates)
            masses = torch.stack([self._log_cell_mass(candidate)[..., part] for candidate in candidates])
            modes[..., part] = candidates[..., part].gather(0, masses.argmax(0, keepdim=True))[0]
        return modes

    def _quantize(self, value: Tensor) -> Tensor:
        """Clamp to the range and round to a level, where values are quantised."""
        if self.quantization_step is None:
            return value
        low, high = self.value_range
        level = value.clamp(low, high).sub_(low).div_(self.quantization_step).round_()
        return level.mul_(self.quantization_step).add_(low).clamp_(low, high)


class LogGaussianMass(torch.autograd.Function):
    """log(Φ(u) - Φ(l)), the mass of Gaussians between two edges, with l and u the edges in their standard deviations.

    Everything is relative to the density at the nearer edge, so that neither the mass nor its gradients overflow or
    cancel, however far in a tail the cell lies; autograd through `torch.special.log_ndtr` takes twice as long.

    Args:
        means (`Tensor` (N, B, V)), log_scales (`Tensor` (N, B, 1 or V)): The Gaussians.
        lower, upper (`Tensor` (N, 1 or B, V)): The edges, lower < upper; infinite ones are tails.
    """

    @staticmethod
    def forward(ctx, means: Tensor, log_scales: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        mass, *saved = log_gaussian_mass(means, log_scales, lower, upper)
        ctx.save_for_backward(*saved)
        return mass

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        return *log_gaussian_mass_gradients(gradient, *ctx.saved_tensors), None, None


def log_gaussian_mass(means: Tensor, log_scales: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
    """The mass of `LogGaussianMass`, and what its gradients need."""
    inverse = torch.exp(-log_scales)
    # Beyond the bounds a density is 0 for certain, and its square still a number.
    lower = ((lower - means) * inverse).clamp(-1e12, 1e12)
    upper = ((upper - means) * inverse).clamp(-1e12, 1e12)
    # By symmetry the cell is moved to the left of the mean: away < near, and |away| is the larger.
    flip = lower + upper > 0
    near = torch.where(flip, -lower, upper)
    away = torch.where(flip, upper, -lower)  # its distance, positive
    x, y = near.abs() * math.sqrt(0.5), away * math.sqrt(0.5)
    falls = (x - y) * (x + y)  # log φ(away) - log φ(near), no larger than 0
    # A cell to the left of the mean: erfc(x)/2 - erfc(y)/2. One around it: erf(x)/2 + erf(y)/2.
    first = _log_erfcx(x)
    share = _log_erfcx(y).add_(falls).sub_(first).clamp_(max=-1e-6).expm1_().neg_()  # what is left of erfc(x)
    beside = share.log_().add_(first)
    around = torch.erf(x).add_(torch.erf(y)).log_().add_(x * x)
    scaled = torch.where(near > 0, around, beside) - math.log(2.0)  # log of mass / exp(-near²/2)
    side = torch.where(flip, 1.0, -1.0)  # not `flip` itself: compiled, what returns a bool takes five times as long
    return scaled - x * x, inverse, side, near, away, falls, scaled


def log_gaussian_mass_gradients(
    gradient: Tensor, inverse: Tensor, side: Tensor, near: Tensor, away: Tensor, falls: Tensor, scaled: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by means and log-scales, given that by the mass."""
    density = gradient * torch.exp(-scaled - 0.5 * math.log(2 * math.pi))  # φ(near) / mass
    beyond = density * torch.exp(falls)  # φ(away) / mass
    of_scales = -(density * near + beyond * away)
    if inverse.shape[-1] == 1:
        of_scales = of_scales.sum(-1, keepdim=True)
    return side * (density - beyond) * inverse, of_scales


def _log_erfcx(x: Tensor) -> Tensor:
    """log(exp(x²) erfc(x)) for x >= 0, to 1.2e-7 (Chebyshev fit in t = 1 / (1 + x/2), Press et al., Numerical Recipes).

    `torch.special.erfcx` and `log_ndtr` are not vectorised on CPUs.
    """
    t = (0.5 * x).add_(1).reciprocal_()
    polynomial = t * _ERFC[0]
    for coefficient in _ERFC[1:-1]:  # in place: a new tensor for each step would take longer than the arithmetic
        polynomial.add_(coefficient).mul_(t)
    return polynomial.add_(_ERFC[-1]).add_(t.log_())


def check_temperature(temperature: float) -> None:
    """Raise `ValueError` unless `temperature` is a finite number that is not negative."""
    if not (isinstance(temperature, (int, float)) and math.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature: expected a finite number of at least 0, got {temperature!r}")
