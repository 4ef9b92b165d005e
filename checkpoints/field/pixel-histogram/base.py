"""What every autoregressive model of the field shares: PixelTransformer's calls, answered as far as its order allows.

A model factorises p(v) into conditionals along an order of the cells. So it can answer a context that comes first in an
order it knows, and must refuse others: `can` says which, `refusal` says why. D = cells of the grid, B = batch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration import FieldConfig
from .distributions import Distribution, join
from .noise import integers
from .orders import follows, last_place, raster

TASKS = ("predict", "sample", "log_prob")
CHUNK = 64  # images of one pass outside of training


@dataclass
class FieldOutput(ModelOutput):
    """What `forward` returns.

    Args:
        loss (`Tensor` `()`): What training minimises: nats per value, of a bound where there is no likelihood.
        log_prob (`Tensor` (B,)): Joint log-likelihood of each image in nats, or the bound.
    """

    loss: Tensor | None = None
    log_prob: Tensor | None = None


class AutoregressiveModel(PreTrainedModel):
    """Base of the models: a subclass gives `conditionals`, and more where it has several orders or a faster way."""

    config_class = FieldConfig
    base_model_prefix = "field"
    main_input_name = "values"
    colour = False  # whether it handles three channels
    real = False  # whether it handles real values
    quantised = True  # whether it handles levels

    def __init__(self, config: FieldConfig):
        super().__init__(config)
        name = type(self).__name__
        if config.value_dim not in ((1, 3) if self.colour else (1,)):
            raise ValueError(
                f"value_dim: expected {'1 or 3' if self.colour else '1'} for {name}, got {config.value_dim}"
            )
        if config.num_levels is None and not self.real:
            raise ValueError(f"num_levels: expected a number for {name}, which models levels, got None")
        if config.num_levels is not None and not self.quantised:
            raise ValueError(f"num_levels: expected None for {name}, which models real values, got {config.num_levels}")

    def _init_weights(self, module) -> None:
        """Layers keep the initial weights that they give themselves."""

    # ------------------------------------------------------------- to override

    def orders(self) -> list[Tensor]:
        """The orders (D,) that the model was trained in."""
        return [raster(self.config.native_grid).to(self.device)]

    def conditionals(self, values: Tensor, order: Tensor) -> Distribution:
        """Distributions, batch shape (B, D), of every cell of values (B, D, V) given the cells before it in `order`."""
        raise NotImplementedError

    def orders_of(self, known: Tensor, asked: Tensor) -> list[Tensor]:
        """Orders in which the cells of `known` (D,) come first and, where it can be, those of `asked` (D,) next."""
        count = int(known.sum())
        return [order for order in self.orders() if bool(known[order[:count]].all())]

    def draw(
        self,
        values: Tensor,
        order: Tensor,
        start: int,
        stop: int,
        generator: torch.Generator | None,
        temperature: float,
    ) -> Tensor:
        """Fill in the cells order[start:stop] of values (B, D, V), one after another, a whole pass for each."""
        values = values.clone()
        for cell in order[start:stop].tolist():
            distribution = self.conditionals(values, order)[:, cell]
            values[:, cell] = distribution.sample((), generator, temperature)
        return values

    def passes(self, count: int) -> int:
        """Passes of the network that drawing `count` cells takes; a step of a cache counts as one."""
        return count

    def forward(self, values: Tensor, generator: torch.Generator | None = None) -> FieldOutput:
        """Loss and joint log-likelihood of images (B, D, V); with several orders, one drawn by `generator`."""
        orders = self.orders()
        chosen = int(integers(len(orders), (), "cpu", generator)) if len(orders) > 1 else 0
        log_prob = self.conditionals(values, orders[chosen]).log_prob(values).sum(1)
        return FieldOutput(-log_prob.mean() / values[0].numel(), log_prob)

    # --------------------------------------------------------------- the calls

    def native_positions(self) -> Tensor:
        """Cell centres (1, D, P) in [-1, 1], x first and fastest."""
        axes = [(torch.arange(n, device=self.device) + 0.5) * (2 / n) - 1 for n in self.config.native_grid]
        cells = torch.meshgrid(*reversed(axes), indexing="ij")
        return torch.stack(tuple(reversed(cells)), -1).reshape(1, -1, len(axes))

    def cells_of(self, positions: Tensor, name: str) -> Tensor:
        """Numbers (B, N) of the cells whose centres are at positions (B, N, P).

        Raises:
            ValueError: for positions that are no cell centres.
        """
        grid = self.config.native_grid
        if positions.dim() != 3 or positions.shape[-1] != len(grid):
            raise ValueError(f"{name}: expected shape (B, N, {len(grid)}), got {tuple(positions.shape)}")
        sides = torch.tensor(list(grid), device=positions.device)
        places = (positions + 1) / 2 * sides - 0.5
        cells = places.round().long()
        if bool(((places - cells).abs() > 0.05).any() | (cells < 0).any() | (cells >= sides).any()):
            sizes = "×".join(map(str, grid))
            raise ValueError(f"{name}: expected centres of the {sizes} cells that the model has, got others")
        return cells[..., 0] if len(grid) == 1 else cells[..., 1] * grid[0] + cells[..., 0]

    def can(self, task: str, context_positions: Tensor, query_positions: Tensor | None = None) -> bool:
        """Whether the model can answer: see `refusal`."""
        return self.refusal(task, context_positions, query_positions) is None

    def refusal(self, task: str, context_positions: Tensor, query_positions: Tensor | None = None) -> str | None:
        """One sentence that says why the model cannot answer a task given a context (B, K, P), or `None` if it can.

        Args:
            task (`str`): "predict", "sample" or "log_prob".
            query_positions (`Tensor` (B, Q, P) or `None`): Of "log_prob"; `None`: all cells that are not known.
        """
        if task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {task!r}")
        try:
            known = self._mask(self.cells_of(context_positions, "context_positions"))
            asked = ~known
            if query_positions is not None:
                asked = self._mask(self.cells_of(query_positions, "query_positions"), known)
        except ValueError as error:
            return str(error)
        for _, one, wanted in self._groups(known, asked):
            orders = self.orders_of(one, wanted)
            if not orders:
                return f"{self._name()} knows a context only if it comes first in its order, which this one does not."
            if task == "log_prob" and not any(follows(order, one, wanted) for order in orders):
                return f"{self._name()} scores only values that follow the context in its order without a gap."
        return None

    @torch.no_grad()
    def log_prob(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        query_values: Tensor,
        order: Tensor | None = None,
        num_orders: int = 1,
    ) -> Tensor:
        """Joint log-likelihood (B,) in nats of values (B, Q, V) given a context (B, K, P), (B, K, V).

        Args:
            order (`Tensor` (D,)): The order to score in; `None`: the model's choice.
            num_orders (`int`): Of models with several orders: the likelihood is the mean over so many of them.

        Raises:
            ValueError: with the sentence of `refusal`.
        """
        values, known, asked = self._read(context_positions, context_values, query_positions, query_values)
        result = values.new_zeros(len(values))
        for rows, one, wanted in self._groups(known, asked):
            orders = self.orders_of(one, wanted) if order is None else [order]
            orders = [along for along in orders if follows(along, one, wanted)][:num_orders]
            if not orders:
                raise ValueError(f"query_positions: {self.refusal('log_prob', context_positions, query_positions)}")
            for part in rows.split(CHUNK):
                image = values[part]
                scores = [self.conditionals(image, along).log_prob(image)[:, wanted].sum(1) for along in orders]
                result[part] = torch.stack(scores).logsumexp(0) - math.log(len(orders))
        return result

    @torch.no_grad()
    def sample(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        num_samples: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Exact joint samples (num_samples, B, Q, V). Cells that come before the last query are drawn on the way.

        Raises:
            ValueError: with the sentence of `refusal`.
        """
        values, known, asked = self._read(context_positions, context_values, query_positions)
        whole = values.expand(num_samples, *values.shape).clone()
        for rows, one, wanted in self._groups(known, asked):
            along, start = self._order(one, wanted), int(one.sum())
            stop = last_place(along, wanted)
            for part in rows.split(max(1, CHUNK // num_samples)):
                copies = values[part].repeat(num_samples, 1, 1)
                drawn = self.draw(copies, along, start, stop, generator, temperature)
                whole[:, part] = drawn.view(num_samples, len(part), *values.shape[1:])
        cells = self.cells_of(query_positions, "query_positions").expand(len(values), -1)
        return whole.gather(2, cells[None, ..., None].expand(num_samples, -1, -1, values.shape[-1]))

    @torch.no_grad()
    def predict(
        self,
        context_positions: Tensor,
        context_values: Tensor,
        query_positions: Tensor,
        num_samples: int = 32,
        generator: torch.Generator | None = None,
    ) -> Distribution:
        """Marginals, batch shape (B, Q). That of the next cell in the order is exact.

        Those of later cells are means of the conditionals over `num_samples` joint samples of what lies between.

        Raises:
            ValueError: with the sentence of `refusal`.
        """
        values, known, asked = self._read(context_positions, context_values, query_positions)
        cells = self.cells_of(query_positions, "query_positions").expand(len(values), -1)
        parts: list[tuple[int, Distribution]] = []
        for rows, one, wanted in self._groups(known, asked):
            for row in rows:
                along = self._order(one, wanted)
                stop = last_place(along, wanted)
                marginal = self.marginals(values[row, None], one, along, stop, num_samples, generator)
                parts.append((int(row), marginal[:, cells[row]]))
        return join([distribution for _, distribution in sorted(parts, key=lambda part: part[0])])

    def marginals(
        self,
        values: Tensor,
        known: Tensor,
        order: Tensor,
        stop: int,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> Distribution:
        """Marginals, batch shape (1, D), of one image given its known cells, right up to order[stop - 1]."""
        start = int(known.sum())
        if stop > start + 1:
            values = self.draw(values.repeat(num_samples, 1, 1), order, start, stop, generator, 1.0)
        return self.conditionals(values, order)[:, None].mixed(0)

    # ------------------------------------------------------------------ inside

    def _name(self) -> str:
        return type(self).__name__

    def _mask(self, cells: Tensor, without: Tensor | None = None) -> Tensor:
        """True (B, D) at cells (B, N), except `without`."""
        mask = torch.zeros(len(cells), self.config.num_cells, dtype=torch.bool, device=cells.device)
        mask = mask.scatter(1, cells, True)
        return mask if without is None else mask.expand(len(without), -1) & ~without

    def _read(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values=None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, D, V), and masks (B, D) of the cells that are known and that are asked for."""
        known_cells = self.cells_of(context_positions, "context_positions")
        cells = self.cells_of(query_positions, "query_positions").expand(len(known_cells), -1)
        channels = self.config.value_dim
        values = torch.zeros(len(cells), self.config.num_cells, channels, device=cells.device)
        for name, part, given in (("query", cells, query_values), ("context", known_cells, context_values)):
            if given is None:
                continue
            expected = (*part.shape, channels)
            if given.shape != expected:
                raise ValueError(f"{name}_values: expected shape {expected}, got {tuple(given.shape)}")
            values.scatter_(1, part[..., None].expand_as(given), given.float())
        known = self._mask(known_cells)
        return values, known, self._mask(cells, known)

    def _groups(self, known: Tensor, asked: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows that have the same known and asked cells: their numbers, and both masks (D,)."""
        kinds, which = torch.unique(torch.cat((known, asked), 1), dim=0, return_inverse=True)
        for number, kind in enumerate(kinds):
            yield (which == number).nonzero()[:, 0], *kind.chunk(2)

    def _order(self, known: Tensor, asked: Tensor) -> Tensor:
        orders = self.orders_of(known, asked)
        if not orders:
            name = self._name()
            raise ValueError(f"context_positions: {name} knows a context only if it comes first in its order.")
        return orders[0]
