"""Checks of what a caller passes: each error names the argument, what was expected and what came."""

import torch
from torch import Tensor


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
