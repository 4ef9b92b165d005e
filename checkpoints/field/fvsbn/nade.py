"""FVSBN, NADE and its kin: one-layer models that share weights between the conditionals.

- FVSBN: logistic regression of each pixel on those before it (Frey 1996; Bengio & Bengio 2000). Binarised MNIST, with
  dynamic binarisation: 96.58 nats (source not traced).
- NADE (Larochelle & Murray 2011): h_i = σ(c + Σ_{j<i} W_j v_j), p(v_i) = σ(b_i + V_i h_i). Published: 88.86 nats with
  500 units and static binarisation; 85.65 with dynamic binarisation (pytorch-generative).
- EoNADE (Uria et al. 2014): one deep network for all orders, trained to predict the hidden pixels of a random subset.
  Published, static binarisation: 84.68 nats (EoNADE-5, two hidden layers, 128 orders averaged).
- RNADE (Uria et al. 2013): NADE for real values, with mixtures of Gaussians and rescaled activations.
- Categorical NADE: softmax over 256 levels, the output weights shared between pixels so that they stay few.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from .base import AutoregressiveModel, FieldOutput
from .configuration import FieldConfig
from .distributions import Distribution, LevelDistribution
from .heads import Head
from .layers import below_diagonal, unpack
from .noise import integers, uniform
from .orders import put_first, random

NUM_ORDERS = 128  # random orders of an orderless model that an ensemble can average, as published
CHUNK = 16  # cells whose hidden sums are made at once: few enough to stay in a core's cache, 8 times faster than all


@strict
class FVSBNConfig(FieldConfig):
    """It has no sizes of its own."""

    model_type = "field-fvsbn"


class FVSBN(AutoregressiveModel):
    """Fully visible sigmoid belief network; only the weights below the diagonal are stored."""

    config_class = FVSBNConfig

    def __init__(self, config: FVSBNConfig):
        super().__init__(config)
        _two_levels(self)
        cells = config.num_cells
        self.bias = nn.Parameter(torch.zeros(cells))
        self.weight = nn.Parameter(torch.zeros(cells * (cells - 1) // 2))  # row by row
        self.post_init()

    def matrix(self) -> Tensor:
        """Weights (D, D): row i holds those of the pixels before i."""
        return unpack(self.weight, below_diagonal(len(self.bias), self.weight.device))

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        return LevelDistribution.bernoulli(values[..., 0] @ self.matrix().T + self.bias)

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values, matrix = values.clone(), self.matrix()
        for cell in range(start, stop):
            logits = values[:, :cell, 0] @ matrix[cell, :cell] + self.bias[cell]
            values[:, cell] = LevelDistribution.bernoulli(logits).sample((), generator, temperature)
        return values


@strict
class NADEConfig(FieldConfig):
    """Args:
    hidden_size: Hidden units.
    features: Numbers that a level is looked up as, before it is weighted; 1: the value itself.
    """

    model_type = "field-nade"

    hidden_size: int = 250
    features: int = 1


class NADE(AutoregressiveModel):
    """NADE for two levels, categorical NADE for more, RNADE for real values.

    The hidden sums a_i = c + Σ_{j<i} W_j f(v_j) are running sums, so that a whole image costs O(D H), and so does
    drawing one.
    """

    config_class = NADEConfig
    real = True

    def __init__(self, config: NADEConfig):
        super().__init__(config)
        self.head = Head(config)
        cells, hidden, features = config.num_cells, config.hidden_size, config.features
        self.input = nn.Parameter(torch.randn(cells, features, hidden) * (cells * features) ** -0.5)
        self.input_bias = nn.Parameter(torch.zeros(hidden))
        self.output = nn.Parameter(torch.randn(cells, hidden) * 0.05)
        self.bias = nn.Parameter(torch.zeros(cells, self.head.size))
        # Several numbers for each pixel: the hidden units, weighted by pixel, pass through one matrix for all.
        self.shared = nn.Linear(hidden, self.head.size, bias=False) if self.head.size > 1 else None
        self.table = nn.Embedding(config.num_levels, features) if features > 1 else None
        if config.num_levels is None:
            with torch.no_grad():
                self.bias[:, self.head.size // 3 : 2 * self.head.size // 3] = torch.linspace(-2, 2, self.head.size // 3)
        self.post_init()

    def _features(self, values: Tensor) -> Tensor:
        """What is weighted of values (…, 1): (…, features)."""
        if self.table is None:
            return values
        return self.table((values[..., 0] * (self.config.num_levels - 1)).round().long())

    def _numbers(self, sums: Tensor, cells: slice) -> Tensor:
        """What the head reads, (B, cells, size), from hidden sums (B, cells, H)."""
        if self.config.num_levels is None:
            # RNADE's rescaling: sums of more and more values would saturate the units (its equation 5).
            number = torch.arange(self.config.num_cells, device=sums.device)[cells]
            hidden = torch.relu(sums * (1 + number).float().rsqrt()[:, None])
        else:
            hidden = torch.sigmoid(sums)
        weighted = hidden * self.output[cells]
        numbers = weighted.sum(-1, keepdim=True) if self.shared is None else self.shared(weighted)
        return numbers + self.bias[cells]

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        # In float32 whatever the precision of products: sums of 784 terms need their digits.
        with torch.autocast(values.device.type, enabled=False):
            features, numbers = self._features(values).float(), []
            sums = self.input_bias.expand(len(values), -1)  # from all cells before the chunk
            for start in range(0, features.shape[1], CHUNK):
                cells = slice(start, start + CHUNK)
                known, weights = features[:, cells], self.input[cells].flatten(0, 1)
                size = known.shape[1]
                before = known.new_ones(size, size).tril(-1)[..., None]  # (cell, cells of the chunk before it)
                within = (before * known[:, None]).flatten(2) @ weights
                numbers.append(self._numbers(sums[:, None] + within, cells))
                sums = sums + known.flatten(1) @ weights
            return self.head.read(torch.cat(numbers, 1))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values = values.clone()
        added = torch.einsum("bdf,dfh->bh", self._features(values[:, :start]), self.input[:start])
        sums = added + self.input_bias
        for cell in range(start, stop):
            distribution = self.head.read(self._numbers(sums[:, None], slice(cell, cell + 1)))
            values[:, cell] = distribution.sample((), generator, temperature)[:, 0]
            sums = sums + torch.einsum("bf,fh->bh", self._features(values[:, cell]), self.input[cell])
        return values


@strict
class EoNADEConfig(FieldConfig):
    """Args:
    hidden_size: Units of each of the hidden layers.
    num_layers: Hidden layers.
    """

    model_type = "field-eonade"

    hidden_size: int = 190
    num_layers: int = 2


class EoNADE(AutoregressiveModel):
    """Orderless deep NADE: a network of the known values and of which are known predicts all others.

    So any context is answered: all marginals in one pass, samples and likelihoods along any order. The likelihoods of
    different orders differ; `log_prob(num_orders=n)` averages n of them.
    """

    config_class = EoNADEConfig

    def __init__(self, config: EoNADEConfig):
        super().__init__(config)
        _two_levels(self)
        sizes = [2 * config.num_cells, *[config.hidden_size] * config.num_layers]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], config.num_cells))
        self.post_init()

    def logits(self, values: Tensor, known: Tensor) -> Tensor:
        """Log-odds (B, D) of all pixels, given those of values (B, D, V) where `known` (B, D) is true."""
        return self.network(torch.cat((values[..., 0] * known, known.float()), 1))

    def forward(self, values: Tensor, generator: torch.Generator | None = None) -> FieldOutput:
        """The unbiased loss of Uria et al.: a subset of random size is known, the others' nats are scaled up."""
        batch, cells = values.shape[:2]
        count = integers(cells, (batch, 1), values.device, generator)
        known = uniform((batch, cells), values.device, generator).argsort(1).argsort(1) < count
        nats = LevelDistribution.bernoulli(self.logits(values, known)).log_prob(values) * ~known
        log_prob = nats.sum(1) * cells / (cells - count[:, 0])
        return FieldOutput(-log_prob.mean() / cells, log_prob)

    def orders_of(self, known: Tensor, asked: Tensor) -> list[Tensor]:
        """Random orders in which the known cells come first: any context has some."""
        grid = self.config.native_grid
        return [put_first(random(grid, seed).to(known.device), known, asked) for seed in range(NUM_ORDERS)]

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        """All cells of one image are rows of one batch, each with what is known when it comes."""
        place = order.argsort()
        known = place[None] < place[:, None]  # (cell, cells before it)
        logits = []
        for image in values:
            found = self.logits(image.expand(len(place), -1, -1), known)
            logits.append(found.diagonal())
        return LevelDistribution.bernoulli(torch.stack(logits))

    def marginals(self, values, known, order, stop, num_samples, generator) -> Distribution:
        """Exact, in one pass."""
        return LevelDistribution.bernoulli(self.logits(values, known[None]))

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        values = values.clone()
        known = torch.zeros(values.shape[1], dtype=torch.bool, device=values.device)
        known[order[:start]] = True
        for cell in order[start:stop].tolist():
            logits = self.logits(values, known[None].expand(len(values), -1))[:, cell]
            values[:, cell] = LevelDistribution.bernoulli(logits).sample((), generator, temperature)
            known[cell] = True
        return values


def _two_levels(model: AutoregressiveModel) -> None:
    if model.config.num_levels != 2:
        name, levels = type(model).__name__, model.config.num_levels
        raise ValueError(f"num_levels: expected 2 for {name}, which models binary values, got {levels}")
