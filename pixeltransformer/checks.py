"""Checks of what a caller passes: each error names the argument, what was expected and what came."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .orders import DEFAULT_ORDER, ORDERS

COARSE_TO_FINE = "coarse-to-fine"
METHODS = ("speculative", "one-by-one")


def check_tensor(name: str, value: object, shape: tuple[int | None, ...], letters: str) -> None:
    """Raise unless `value` is a floating-point tensor of `shape`, whose `None` entries are free; `letters` name it."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor of shape {letters}, got {type(value).__name__}")
    fits = value.dim() == len(shape) and all(
        want is None or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name}: expected shape {letters} = ({wanted}), got {tuple(value.shape)}")
    if not value.is_floating_point():
        raise ValueError(f"{name}: expected floating-point numbers, got {value.dtype}")


def check_given(name: str, value: Tensor | None) -> None:
    """Raise if a required tensor is missing."""
    if value is None:
        raise ValueError(f"{name}: expected a tensor, got None")


def check_places(
    config,
    name: str,
    positions: Tensor,
    values: Tensor | None = None,
    mask: Tensor | None = None,
    batch: int | None = None,
    scales: Tensor | None = None,
) -> None:
    """Check `{name}_positions`, `{name}_values`, `{name}_mask` and `{name}_scales` against a model's configuration.

    Only the context may be empty, and only it must have values. With `batch`, queries may also have a batch of 1.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for a wrong shape, NaN or infinity, positions outside [-1, 1], quantised values outside the value
            range, scales outside [0, config.num_scales - 1], an empty query, or more tokens than `config.max_tokens`.
    """
    letters = {"context": "K", "query": "Q", "buffer": "M"}[name]
    check_tensor(f"{name}_positions", positions, (None, None, config.position_dim), f"(B, {letters}, P)")
    size, count = positions.shape[:2]
    if size == 0:
        raise ValueError(f"{name}_positions: expected a batch of at least 1, got shape {tuple(positions.shape)}")
    if batch is not None and size not in (batch, 1 if values is None else batch):
        raise ValueError(f"{name}_positions: expected the context's batch of {batch}, got {size}")
    if name != "context" and count == 0:
        raise ValueError(f"{name}_positions: expected at least one, got none (shape {tuple(positions.shape)})")
    if name != "query" and count > config.max_tokens:
        raise ValueError(
            f"{name}_positions: expected at most {config.max_tokens} (config.max_tokens, a guard for memory), "
            f"got {count}"
        )
    _check_range(f"{name}_positions", positions, -1.0, 1.0, "cell centres in [-1, 1]")
    if values is not None or name == "context":
        check_tensor(f"{name}_values", values, (size, count, config.value_dim), f"(B, {letters}, V)")
        # Continuous values may leave the range a little, as the tails of a density do; levels may not.
        bounded = config.value_range is not None and config.quantization_step is not None
        low, high = config.value_range if bounded else (-float("inf"), float("inf"))
        _check_range(f"{name}_values", values, low, high, f"values in [{low}, {high}]")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != positions.shape[:2]):
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{name}_mask: expected shape (B, {letters}) = ({size}, {count}), got {got}")
    if scales is not None:
        check_tensor(f"{name}_scales", scales, (size, count), f"(B, {letters})")
        largest = config.num_scales - 1
        _check_range(
            f"{name}_scales", scales, 0.0, largest, f"scales from 0 to {largest} (config.num_scales - 1) of this model"
        )


def _check_range(name: str, value: Tensor, low: float, high: float, expected: str) -> None:
    if value.numel() == 0:
        return
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name}: expected finite numbers, got {bad} that are NaN or infinite")
    smallest, largest = value.min().item(), value.max().item()
    slack = 1e-4 * max(1.0, high - low) if high < float("inf") else 0.0
    if smallest < low - slack or largest > high + slack:
        raise ValueError(f"{name}: expected {expected}, got numbers from {smallest:g} to {largest:g}")


def check_count(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise `ValueError` unless `value` is an integer from `low` to `high`."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        expected = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{name}: expected one of {expected}, got {value!r:.60}")


def check_order(order: object, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raise unless `order` is a name, or a tensor of permutations of one of these shapes."""
    if isinstance(order, str):
        check_choice("order", order, (*ORDERS, COARSE_TO_FINE))
        return
    expected = " or ".join(str(shape) for shape in shapes)
    if not isinstance(order, Tensor) or tuple(order.shape) not in shapes:
        got = tuple(order.shape) if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order: expected the name of an order or shape {expected}, got {got}")
    count = order.shape[-1]
    if not torch.equal(order.sort(-1).values, torch.arange(count, device=order.device).expand_as(order)):
        raise ValueError(f"order: expected permutations of 0 … {count - 1}, got repeated or missing numbers")


@dataclass(frozen=True)
class SamplingOptions:
    """How joint samples are drawn, see `PixelTransformerModel.sample_iter`; checked when made and once more by `check`.

    Raises:
        ValueError: naming the option, what was expected and what came.
    """

    num_samples: int = 1
    num_steps: int | None = None
    temperature: float = 1.0
    num_autoregressive: int | None = None
    order: str | Tensor = DEFAULT_ORDER
    method: Literal["speculative", "one-by-one"] = "speculative"
    use_cache: bool = True
    finish: Literal["sample", "mean"] = "sample"

    def __post_init__(self):
        check_count("num_samples", self.num_samples, 1)
        if self.num_steps is not None:
            check_count("num_steps", self.num_steps, 1)
        if self.num_autoregressive is not None:
            check_count("num_autoregressive", self.num_autoregressive, 0)
        check_choice("method", self.method, METHODS)
        if self.num_steps is not None and self.method != METHODS[0]:
            raise ValueError(f"num_steps: expected None with method={self.method!r}, got {self.num_steps}")
        check_choice("finish", self.finish, ("sample", "mean"))
        if self.finish == "mean" and not self.coarse_to_fine:
            raise ValueError(f'finish: expected "sample", or "mean" with order="{COARSE_TO_FINE}", got "mean"')

    @property
    def coarse_to_fine(self) -> bool:
        """Whether averages are drawn before the queries."""
        return isinstance(self.order, str) and self.order == COARSE_TO_FINE
