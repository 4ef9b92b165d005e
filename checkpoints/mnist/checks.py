"""Checks of arguments, as tensors or as JSON. Errors name the argument, what was expected and what came."""

import math
import numbers
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .orders import DEFAULT_ORDER, ORDERS

COARSE_TO_FINE = "coarse-to-fine"
METHODS = ("speculative", "one-by-one")
TOLERANCE = 1e-4  # numbers may leave a range by this share of its extent (at least 1): rounding elsewhere
LARGEST = 1e30  # beyond it float32 arithmetic overflows


def check_tensor(name: str, value: object, shape: tuple[int | None, ...], letters: str) -> None:
    """Raise unless `value` is a floating-point tensor of `shape`; `None` entries are free. `letters` name the shape."""
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


def check_inputs(
    config,
    name: str,
    positions: Tensor,
    values: Tensor | None = None,
    mask: Tensor | None = None,
    batch: int | None = None,
    scales: Tensor | None = None,
    numbers: bool = True,
) -> None:
    """Check `{name}_positions`, `{name}_values`, `{name}_mask` and `{name}_scales` against a model's configuration.

    Only the context may be empty, and only the context must have values.

    Args:
        batch (`int` or `None`): Expected batch size; queries may also have a batch of 1.
        numbers (`bool`): Check the numbers too, not only shapes and dtypes; on accelerators, this waits for the device.

    Raises:
        TypeError: if an argument is not a tensor.
        ValueError: for a wrong shape or dtype, NaN or infinity, positions outside [-1, 1], quantised values outside the
            value range, scales outside [0, config.num_scales - 1], an empty query, or more tokens than
            `config.max_tokens`.
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
    ranges = [(f"{name}_positions", positions, -1.0, 1.0, "cell centres in [-1, 1]")]
    if values is not None or name == "context":
        check_tensor(f"{name}_values", values, (size, count, config.value_dim), f"(B, {letters}, V)")
        low, high = value_bounds(config)
        ranges.append((f"{name}_values", values, low, high, f"values in [{low}, {high}]"))
    if mask is not None:
        _check_mask(f"{name}_mask", mask, (size, count), f"(B, {letters})")
    if scales is not None:
        check_tensor(f"{name}_scales", scales, (size, count), f"(B, {letters})")
        largest = config.num_scales - 1
        expected = f"scales from 0 to {largest} (config.num_scales - 1) of this model"
        ranges.append((f"{name}_scales", scales, 0.0, largest, expected))
    if numbers:
        for part in ranges:
            _check_range(*part)


def value_bounds(config) -> tuple[float, float]:
    """Range that values must lie in; infinite for continuous values, which may leave `config.value_range` a little."""
    return (-math.inf, math.inf) if config.quantization_step is None else tuple(config.value_range)


def slack(low: float, high: float) -> float:
    """How far numbers may lie outside a range."""
    return TOLERANCE * max(1.0, high - low) if math.isfinite(high - low) else 0.0


def shown(number: float | Tensor) -> str:
    """A number with as many digits as its precision has: 1.0002, not 1."""
    if isinstance(number, Tensor):
        if number.dtype != torch.float64:
            return str(number.detach().float().cpu().numpy()[()])
        number = number.item()
    return str(float(number))


def _check_mask(name: str, mask: Tensor, shape: tuple[int, int], letters: str) -> None:
    if not isinstance(mask, Tensor) or mask.shape != shape:
        got = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{name}: expected shape {letters} = {shape}, got {got}")
    if mask.is_floating_point() or mask.is_complex():  # an additive mask of 0 and -inf would mean the opposite
        raise ValueError(f"{name}: expected bool, True at real tokens, got {mask.dtype}")


def _check_range(name: str, value: Tensor, low: float, high: float, expected: str) -> None:
    if value.numel() == 0:
        return
    low, high = low - slack(low, high), high + slack(low, high)
    if torch.compiler.is_compiling():  # a compiled graph cannot show numbers
        inside = (value >= max(low, -LARGEST)) & (value <= min(high, LARGEST))
        torch._assert_async(inside.all(), f"{name}: expected finite {expected}")
        return
    smallest, largest = value.aminmax()  # both are NaN if any number is
    if low <= smallest.item() and largest.item() <= high and math.isfinite(largest.item() - smallest.item()):
        return
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name}: expected finite numbers, got {bad} that are NaN or infinite")
    if low <= smallest.item() and largest.item() <= high:
        return
    raise ValueError(f"{name}: expected {expected}, got numbers from {shown(smallest)} to {shown(largest)}")


def check_count(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise `ValueError` unless `value` is an integer from `low` to `high`."""
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if (
        not isinstance(value, numbers.Integral)
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        expected = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{name}: expected one of {expected}, got {value!r:.60}")


def check_blocks(name: str, blocks: object, count: int, letters: str, numbers: bool = True) -> None:
    """Raise `ValueError` unless `blocks` are `count` integers from 1 on that never fall.

    Args:
        numbers (`bool`): As for `check_inputs`.
    """
    if not isinstance(blocks, Tensor) or tuple(blocks.shape) != (count,):
        got = tuple(blocks.shape) if isinstance(blocks, Tensor) else type(blocks).__name__
        raise ValueError(f"{name}: expected shape {letters} = ({count},), got {got}")
    if blocks.is_floating_point() or blocks.is_complex() or blocks.dtype == torch.bool:
        raise ValueError(f"{name}: expected integers, got {blocks.dtype}")
    if not numbers:
        return
    expected = f"{name}: expected numbers from 1 on that never fall"
    good = (blocks[:1] >= 1).all() & (blocks[1:] >= blocks[:-1]).all()
    if torch.compiler.is_compiling():
        torch._assert_async(good, expected)
    elif not good:
        raise ValueError(f"{expected}, got {blocks.tolist()[:16]}")


def check_order(order: object, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Raise unless `order` is the name of an order, or a tensor of permutations with one of these shapes."""
    if isinstance(order, str):
        check_choice("order", order, (*ORDERS, COARSE_TO_FINE))
        return
    expected = " or ".join(str(shape) for shape in shapes)
    if not isinstance(order, Tensor) or tuple(order.shape) not in shapes:
        got = tuple(order.shape) if isinstance(order, Tensor) else type(order).__name__
        raise ValueError(f"order: expected the name of an order or shape {expected}, got {got}")
    if order.dtype != torch.long:
        raise ValueError(f"order: expected numbers of dtype torch.int64, got {order.dtype}")
    count = order.shape[-1]
    if not torch.equal(order.sort(-1).values, torch.arange(count, device=order.device).expand_as(order)):
        raise ValueError(f"order: expected permutations of 0 … {count - 1}, got repeated or missing numbers")


@dataclass(frozen=True)
class SamplingOptions:
    """How joint samples are drawn, see `PixelTransformerModel.sample_iter`. The options are checked when created.

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
        """Whether averages over larger cells are drawn before the queries."""
        return isinstance(self.order, str) and self.order == COARSE_TO_FINE


# ---------------------------------------------------------------------- JSON


def read_rows(rows: Any, width: int, name: str, letters: str = "", limit: int | None = None) -> Tensor:
    """Read a list of rows of `width` finite numbers as a tensor (N, width). Arrays and tensors count as lists.

    Args:
        letters (`str`): Names of a row's numbers for messages, as in "(x, y)".
        limit (`int` or `None`): Largest number of rows; checked before anything else.

    Raises:
        ValueError: naming the first wrong row, what was expected and what came.
    """
    rows = _plain(rows)
    what = f"{width} numbers {letters}".rstrip()
    if not isinstance(rows, list | tuple):
        raise ValueError(f"{name}: expected a list of lists of {what}, got {_brief(rows)}")
    if limit is not None and len(rows) > limit:
        raise ValueError(f"{name}: expected at most {limit:,} positions (the limit here), got {len(rows):,}")
    rows = [_plain(row) for row in rows]
    for index, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) != width:
            got = f"{len(row)} of them" if isinstance(row, list | tuple) else _brief(row)
            raise ValueError(f"{name}[{index}]: expected a list of {what}, got {got}")
        for number in map(_plain, row):
            real = isinstance(number, numbers.Real) and not isinstance(number, bool)
            if not real or not -LARGEST < number < LARGEST:  # also false for NaN
                raise ValueError(f"{name}[{index}]: expected finite numbers, got {_brief(number)}")
    return torch.tensor([[float(number) for number in row] for row in rows], dtype=torch.float32).view(-1, width)


def check_rows(name: str, rows: Tensor, low: float, high: float) -> None:
    """Raise `ValueError` naming the first of the rows (N, width) with a number outside the range and its tolerance."""
    outside = ((rows < low - slack(low, high)) | (rows > high + slack(low, high))).any(-1)
    if outside.any():
        index = int(outside.nonzero()[0])
        got = ", ".join(map(shown, rows[index]))
        raise ValueError(f"{name}[{index}]: expected numbers from {low:g} to {high:g}, got {got}")


def read_positions(config, rows: Any, name: str, letters: str = "", limit: int | None = None) -> Tensor:
    """Positions (N, P) from JSON, see `read_rows`; those just outside [-1, 1] are moved into it."""
    positions = read_rows(rows, config.position_dim, name, letters, limit)
    check_rows(name, positions, -1.0, 1.0)
    return positions.clamp(-1.0, 1.0)


def read_context(
    config, data: dict[str, Any], name: str, letters: str = "", limit: int | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Read a context from JSON: positions (K, P), values (K, V), and scales (K,) or `None` if all are 0.

    Args:
        data (`dict`): Lists under "positions", "values" and, optionally, "scales".

    Raises:
        ValueError: naming the wrong part, what was expected and what came.
    """
    positions = read_positions(config, data.get("positions", []), f"{name}.positions", letters, limit)
    values = read_rows(data.get("values", []), config.value_dim, f"{name}.values", "(channels)", limit)
    if len(positions) != len(values):
        raise ValueError(f"{name}: expected as many values as positions, got {len(positions)} and {len(values)}")
    low, high = value_bounds(config)
    check_rows(f"{name}.values", values, low, high)
    scales = read_scales(config, data.get("scales"), len(positions), f"{name}.scales")
    return positions, values.clamp(low, high), scales


def read_scales(config, given: Any, count: int, name: str) -> Tensor | None:
    """A list of `count` scales as a tensor (K,), or `None` if none are given or all are 0.

    Raises:
        ValueError: naming the first wrong one, or saying that the checkpoint knows no scales.
    """
    if given is None:
        return None
    given = _plain(given)
    if not isinstance(given, list | tuple) or len(given) != count:
        got = len(given) if isinstance(given, list | tuple) else _brief(given)
        raise ValueError(f"{name}: expected a list of as many numbers as positions ({count}), got {got}")
    scales = read_rows([[number] for number in given], 1, name, "(scale)")
    largest = config.num_scales - 1
    if not largest and scales.any():
        got = shown(scales[scales != 0][0])
        raise ValueError(f"{name}: expected only 0, as this checkpoint knows no averages (num_scales 1), got {got}")
    check_rows(name, scales, 0.0, largest)
    return scales[:, 0].clamp(0.0, largest) if scales.any() else None


def _plain(value: Any) -> Any:
    """A row or number of NumPy or torch as a Python object."""
    return value.tolist() if hasattr(value, "tolist") else value


def _brief(value: object) -> str:
    """A short description of a wrong value, at most 40 characters."""
    if value is None or isinstance(value, dict | list | tuple | set):
        return type(value).__name__
    try:
        text = repr(value)
    except ValueError:  # an integer with too many digits for Python to print
        text = type(value).__name__
    return text if len(text) <= 40 else text[:37] + "…"
