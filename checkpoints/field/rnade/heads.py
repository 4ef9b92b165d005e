"""From a network's numbers to distributions: Bernoulli, categorical, discretised logistics, Gaussians."""

from torch import Tensor

from .configuration import FieldConfig
from .distributions import DiscretisedLogistics, Distribution, GaussianMixture, LevelDistribution

COMPONENTS = 5  # of mixtures: what PixelCNN++ found enough


class Head:
    """How many numbers a network gives for each value, and the distribution that they stand for.

    Args:
        kind (`str`): "levels": one logit for two levels, else a softmax over them. "logistics": a mixture of
            discretised logistics, for two levels one logit. Real values get a mixture of Gaussians in any case.
    """

    def __init__(self, config: FieldConfig, kind: str = "levels"):
        self.levels, self.channels = config.num_levels, config.value_dim
        self.kind = "gaussians" if config.num_levels is None else kind
        if self.levels == 2 and self.channels == 1:
            self.kind = "bernoulli"

    @property
    def size(self) -> int:
        """Numbers for each value."""
        if self.kind == "logistics":
            return DiscretisedLogistics.parameters_of(COMPONENTS, self.channels)
        return {"bernoulli": 1, "levels": self.levels, "gaussians": 3 * COMPONENTS}[self.kind]

    def read(self, numbers: Tensor) -> Distribution:
        """Distributions, batch shape (…), from numbers (…, size)."""
        if self.kind == "bernoulli":
            return LevelDistribution.bernoulli(numbers[..., 0])
        if self.kind == "levels":
            return LevelDistribution(numbers)
        if self.kind == "gaussians":
            return GaussianMixture.read(numbers)
        return DiscretisedLogistics.read(numbers, COMPONENTS, self.channels, self.levels)
