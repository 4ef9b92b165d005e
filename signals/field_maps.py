"""From observed cells to a whole map: mean and standard deviation in each cell, in the units of the field."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import xarray
from torch import Tensor

from pixeltransformer.grids import centres
from signals.field import predictor
from signals.field_files import to_maps, units_of


def predict_map(model, observed: xarray.Dataset, wanted: np.ndarray | None = None) -> xarray.Dataset:
    """What a model for fields says about the cells of a map that have no value.

    The map may be larger than the patches that the model was trained on: windows of their size overlap by half, and
    each cell is answered by the window whose centre is nearest. A window sees the cells inside it that are observed
    in all variables. A cell observed in some of them does not condition the model: these keep their values, and the
    others are inferred from the cells around it.

    Args:
        model: A checkpoint whose config has `field` (names, units, mean and standard deviation of its channels).
        observed (`xarray.Dataset`): One map for each variable, NaN where nothing was observed.
        wanted (`np.ndarray` (y, x) or `None`): True in the cells to infer; `None`: all. Others without a value stay
            NaN: cells that do not exist, like the sea on a map of heights, are neither observed nor inferred.

    Returns:
        `xarray.Dataset`: For each variable its mean, under the same name, and `{name}_std`; both with its unit, its
        attributes and the dataset's coordinates. Observed values stay, with standard deviation 0.

    Raises:
        ValueError: for a dataset whose variables or units are not those of the checkpoint, or with several maps.
    """
    standard = model.config.field
    _check(observed, standard)
    maps = to_maps(observed)
    if len(maps) > 1:
        raise ValueError(f"observed: expected one map, got {len(maps)}; select one along {list(observed.dims)[:-2]}")
    center, spread = (torch.tensor(standard[name], dtype=torch.float32) for name in ("center", "spread"))
    values = (maps[0] - center) / spread  # (y, x, V)
    missing = values.isnan()
    unknown = missing.any(-1)
    asked = unknown if wanted is None else unknown & torch.from_numpy(np.asarray(wanted, dtype=bool))
    mean, std = (torch.full_like(values, torch.nan) for _ in range(2))
    answering = predictor(model)
    for window, core in _windows(values.shape[:2], model.config.native_grid[::-1]):
        _fill(answering, values, unknown, asked, window, core, mean, std)
    mean, std = mean * spread + center, torch.where(missing, std * spread, 0.0)
    made = observed.copy()
    for channel, (name, part) in enumerate(observed.data_vars.items()):
        kept = part.values.reshape(mean.shape[:2])
        filled = np.where(missing[..., channel], mean[..., channel].numpy(), kept).astype(np.float32)
        made[name] = part.copy(data=filled.reshape(part.shape))
        made[f"{name}_std"] = part.copy(data=std[..., channel].numpy().reshape(part.shape))
        made[f"{name}_std"].attrs = {"long_name": f"standard deviation of {name}"} | {
            key: part.attrs[key] for key in ("units",) if key in part.attrs
        }
    return made


def _check(observed: xarray.Dataset, standard: dict) -> None:
    units = units_of(observed)
    known = dict(zip(standard["variables"], standard["units"], strict=True))
    if list(units) != list(known):
        raise ValueError(f"observed: expected the variables {', '.join(known)}, got {', '.join(units) or 'none'}")
    for name, unit in units.items():
        if unit and known[name] and unit != known[name]:
            raise ValueError(
                f"observed: expected {name} in {known[name]!r}, as the checkpoint was trained, got {unit!r}"
            )


def _windows(shape: Sequence[int], sides: Sequence[int]):
    """Windows (rows, columns) of a map, and the part of each that it answers: together all cells, each once.

    Where the map is smaller than a window, the window is the whole map.
    """
    axes = []
    for size, side in zip(shape, sides, strict=True):
        side = min(side, size)
        starts = sorted({*range(0, size - side + 1, max(side // 2, 1)), size - side})
        ends = [(one + following + side) // 2 for one, following in itertools.pairwise(starts)] + [size]
        axes.append([(slice(s, s + side), slice(a, b)) for s, a, b in zip(starts, [0, *ends], ends, strict=False)])
    for (rows, own_rows), (columns, own_columns) in itertools.product(*axes):
        yield (rows, columns), (own_rows, own_columns)


def _fill(model, values: Tensor, unknown: Tensor, asked: Tensor, window, core, mean: Tensor, std: Tensor) -> None:
    """Infer the asked cells of a window's core from its observed cells."""
    within = torch.zeros_like(asked)
    within[core] = asked[core]
    within = within[window]
    if not within.any():
        return
    known = ~unknown[window]
    positions = _positions(known.shape, model.config.native_grid)
    moments = model.predict(
        positions[known][None], values[window][known][None], positions[within][None], reduce=lambda d: d.moments
    )
    for target, moment in zip((mean, std), (moments[0], moments[1].sqrt()), strict=True):
        target[window][within] = moment[0]


def _positions(shape: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Positions (y, x, 2) of a window's cells, which are as large as those of the native grid, about its middle."""
    y, x = (
        centres(torch.arange(size) + (side - size) / 2, side)
        for size, side in zip(shape, list(grid)[::-1], strict=True)
    )
    return torch.stack((x.expand(shape[0], -1), y[:, None].expand(-1, shape[1])), -1)
