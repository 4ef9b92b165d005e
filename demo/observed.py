"""The observed set as it travels: JSON arrays of positions and values, checked against a checkpoint."""

import json
from dataclasses import dataclass
from typing import Any, TypedDict

import torch
from torch import Tensor

from demo.limits import MAX_CONTEXT, MAX_VALUE
from pixeltransformer.checks import check_rows, read_context

AXES = {"image": "x, y", "polynomial": "x", "shape": "x, y, z", "video": "t, x, y"}


class _Required(TypedDict):
    positions: list[list[float]]
    values: list[list[float]]


class ObservedLists(_Required, total=False):
    """An observed set as JSON: for each position a list of coordinates in [-1, 1], a list of values and a scale.

    Without `scales` all are 0. Gradio's schema takes required keys from the class alone: with `NotRequired` it would
    ask every MCP client for scales.
    """

    scales: list[float]


@dataclass(frozen=True)
class Observed:
    """What is known of a signal: positions (K, P) in [-1, 1], values (K, V), and scales (K,) where some are averages.

    A scale is log2 of the side of the cell that a value is the average of, over a native cell's side. `None`: all 0.
    """

    positions: Tensor
    values: Tensor
    scales: Tensor | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def sizes(self) -> Tensor:
        """Scales (K,), zeros where they are `None`."""
        return torch.zeros(len(self)) if self.scales is None else self.scales

    @property
    def points(self) -> Tensor:
        """Which values (K,) are those of a position itself, not averages over an area."""
        return self.sizes == 0

    def __getitem__(self, which: Tensor) -> "Observed":
        """A part, chosen by a mask or by numbers."""
        return Observed(self.positions[which], self.values[which], None if self.scales is None else self.scales[which])

    def __add__(self, more: "Observed") -> "Observed":
        """Both, `more` last."""
        pairs = ((self.positions, more.positions), (self.values, more.values), (self.sizes, more.sizes))
        positions, values, scales = (torch.cat(pair) for pair in pairs)
        return Observed(positions, values, scales if scales.any() else None)

    @property
    def distinct(self) -> "Observed":
        """Without those that a later one of the same position and size takes the place of, as on the pad."""
        if not len(self):
            return self
        _, place = torch.cat((self.positions, self.sizes[:, None]), 1).unique(dim=0, return_inverse=True)
        last = torch.zeros(int(place.max()) + 1, dtype=torch.long)
        return self[last.scatter_reduce(0, place, torch.arange(len(self)), "amax").sort().values]

    @property
    def fingerprint(self) -> bytes:
        """Equal for equal sets only."""
        return b"".join(part.contiguous().numpy().tobytes() for part in (self.positions, self.values, self.sizes))

    @property
    def context(self) -> tuple[Tensor, Tensor]:
        """Positions (1, K, P) and values (1, K, V)."""
        return self.positions[None], self.values[None]

    def arguments(self, device: torch.device) -> dict[str, Tensor | None]:
        """What a model is given."""
        scales = None if self.scales is None else self.scales[None].to(device)
        positions, values = (part.to(device) for part in self.context)
        return {"context_positions": positions, "context_values": values, "context_scales": scales}

    def to_json(self) -> ObservedLists:
        """Plain lists, rounded to six digits (a thousandth of the finest cell)."""
        lists: ObservedLists = {
            "positions": [[round(x, 6) for x in row] for row in self.positions.tolist()],
            "values": [[round(x, 6) for x in row] for row in self.values.tolist()],
        }
        if self.scales is not None:
            lists["scales"] = [round(x, 6) for x in self.scales.tolist()]
        return lists


def nothing(config) -> Observed:
    """The empty set for a checkpoint."""
    return Observed(torch.zeros(0, config.position_dim), torch.zeros(0, config.value_dim))


def read_observed(data: Any, config, name: str = "observed") -> Observed:
    """An observed set from JSON: an object with positions, values and perhaps scales, as text or parsed; other keys are
    left alone. `None` observes nothing.

    Raises:
        ValueError: naming the part that is wrong, what was expected and what came.
    """
    if isinstance(data, str):
        data = read_json(data, name) if data.strip() else None
    if data is None:
        return nothing(config)
    if not isinstance(data, dict) or not {"positions", "values"} <= set(data):
        got = f"keys {sorted(map(str, data))[:6]}" if isinstance(data, dict) else type(data).__name__
        raise ValueError(f'{name}: expected an object {{"positions": [[…], …], "values": [[…], …]}}, got {got}')
    axes = AXES.get(config.signal, "coordinates")
    positions, values, scales = read_context(config, data, name, f"({axes})", MAX_CONTEXT)
    if config.quantization_step is None:
        check_rows(f"{name}.values", values, -MAX_VALUE, MAX_VALUE)
    return Observed(positions, values, scales)


def read_json(text: str, name: str) -> Any:
    """JSON text parsed.

    Raises:
        ValueError: naming line and column of the mistake.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: expected JSON, got an error in line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{name}: expected JSON of a few levels, got one nested too deeply") from error
