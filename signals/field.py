"""Fields as signals: real-valued maps of one or more channels, some cells of which may have no value.

A field is one large map, of which training sees patches. Cells without a value (NaN) are neither observed nor asked
for. Values are standardised, channel by channel; the config records how, and the names and units of the channels.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from signals.base import Batch, FlagError, GridSignal, Observation, Rows, flag, flags, say
from signals.cells import cell_positions, values_at_cells
from signals.field_files import find_fields, read_maps
from signals.kriging import Kernel, Kriged, Kriging
from signals.patterns import Pattern, anywhere, around_center, blobs, outside, strokes, toward
from signals.plan import EvaluationPlan, SamplePlan

SHOWN = 2.5  # standardised values that a picture shows, above and below 0
NOTHING = (110, 110, 110)  # colour of a cell without a value
SPLITS = ("train", "validation", "test")
FITTED_PATCHES, FITTED_CELLS = 300, (16, 32, 64, 128)  # to which the kernels of kriging are fitted


@dataclass
class Fields(GridSignal):
    """Patches of real-valued maps: positions (x, y), values standardised and continuous."""

    kind: ClassVar[str] = "field"
    plural: ClassVar[str] = "fields"
    coordinates: ClassVar[tuple[int, ...]] = (0, 1)
    patterns: ClassVar[dict[str, Pattern]] = {
        "random cells": Pattern(anywhere, 1, density=1 / 15),
        "top half": Pattern(toward(0, -1), 1 / 2),
        "three tracks": Pattern(strokes, 1 / 15),
        "all but the centre": Pattern(outside(around_center), 3 / 4),
        "smooth regions": Pattern(blobs, 1 / 3),
        "top half and a few": Pattern(toward(0, -1), 1 / 2, also=1 / 64),
    }

    dataset_name: str | None = flag("File of a field (.npy, .npz, netCDF, Zarr), or a folder of such files.")
    variables: list[str] = flags("Variables that are the channels of a value; default: all maps of a file.", [])
    missing_value: float | None = flag("A number that means that a cell has no value, besides NaN.")
    patch_size: int = flag("Cells of a patch along each side.", 32)
    patch_stride: int = flag("Cells from one training patch to the next.", 1)
    max_missing: float = flag("Largest share of cells without a value in a patch; others are left out.", 0.25)
    validation_block: list[float] = flags(
        "Part of each map to validate on, where no folder is called validation: x0 y0 x1 y1, shares of width and "
        "height.", [0.75, 0.0, 1.0, 0.5]
    )  # fmt: skip
    test_block: list[float] = flags(
        "Part of each map to test on, where no folder is called test, as --validation_block.", [0.75, 0.5, 1.0, 1.0]
    )
    mirror: bool = flag("Mirror training patches along each side at random.", False)
    turn: bool = flag("Mirror training patches and turn them by quarter turns, at random.", False)
    kriging: bool = flag(
        "Train on what kriging leaves: Gaussian processes are fitted to training patches, and the network learns their "
        "residuals, see signals/kriging.py.", False
    )  # fmt: skip
    shift: float = flag(
        "Standard deviation of a number added to all values of a training patch, in standard deviations of a value: "
        "the larger, the less the model relies on absolute values.", 0.0
    )  # fmt: skip

    def __post_init__(self):
        if not self.dataset_name:
            raise ValueError(f"--dataset_name: expected a file or a folder of fields, got {self.dataset_name!r}")
        for name in ("patch_size", "patch_stride"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: expected a number above 0, got {getattr(self, name)}")
        if not 0 <= self.max_missing < 1:
            raise ValueError(f"--max_missing: expected a number from 0 to below 1, got {self.max_missing}")
        if not self.shift >= 0:
            raise ValueError(f"--shift: expected a number of at least 0, got {self.shift}")
        for name in ("validation_block", "test_block"):
            block = getattr(self, name)
            if len(block) != 4 or not (0 <= block[0] < block[2] <= 1 and 0 <= block[1] < block[3] <= 1):
                raise ValueError(f"--{name}: expected x0 y0 x1 y1 from 0 to 1, x0 < x1 and y0 < y1, got {block}")

    @cached_property
    def _read(self) -> tuple[dict[str, str], dict[str, list[Tensor]]]:
        """Units by variable, and all maps (y, x, V) by split, in these units; "" where one file holds all splits."""
        return read_maps(find_fields(self.dataset_name), self.variables, self.missing_value)

    @property
    def _maps(self) -> dict[str, list[Tensor]]:
        return self._read[1]

    def _blocks(self, split: str) -> tuple[list[Tensor], list[list[float]]]:
        """The maps that hold a split, and the blocks of them that do not belong to it (training), or the one that does.

        A split without a folder of its own is a block of the training maps.
        """
        maps = self._maps
        if split in maps and split != "train":
            return maps[split], [[0.0, 0.0, 1.0, 1.0]]
        shared = maps.get("") or maps.get("train", [])
        if not shared:
            raise ValueError(f"--dataset_name: expected fields of split {split!r}, got those of {', '.join(maps)}")
        if split != "train":
            return shared, [self.validation_block if split == "validation" else self.test_block]
        held_out = {"validation": self.validation_block, "test": self.test_block}
        return shared, [block for name, block in held_out.items() if name not in maps]

    def patches(self, split: str, grid: list[int]) -> "Patches":
        """The patches of a split: overlapping ones of the training maps, others side by side.

        Raises:
            ValueError: where there is none.
        """
        if split not in SPLITS:
            raise ValueError(f"--split: expected one of {', '.join(SPLITS)}, got {split!r}")
        maps, blocks = self._blocks(split)
        corners, fewest = [], grid[0] * grid[1]
        for number, one in enumerate(maps):
            missing = one.isnan().any(-1)
            if split == "train":
                closed = torch.zeros_like(missing)
                for block in blocks:
                    closed[_slices(block, missing.shape)] = True
                found, most = _corners(missing, closed, grid, self.patch_stride, self.max_missing)
            else:
                inside = _slices(blocks[0], missing.shape)
                found, most = _corners(missing[inside], None, grid, None, self.max_missing)
                found = found + torch.tensor([inside[0].start, inside[1].start])
            corners += [(number, *corner) for corner in found.tolist()]
            fewest = min(fewest, grid[0] * grid[1] - most)
        if not corners:
            raise ValueError(
                f"--patch_size: expected patches of {grid[0]}×{grid[1]} cells, at most {self.max_missing:.0%} of them "
                f"missing, to fit into the {split} part of {', '.join(f'{m.shape[1]}×{m.shape[0]}' for m in maps[:4])}"
            )
        return Patches(maps, corners, grid, fewest)

    @cached_property
    def standard(self) -> dict[str, Any]:
        """What a checkpoint's config records: names and units of the channels, mean and standard deviation of the
        values that are trained on and, with `--kriging`, its kernels."""
        units = self._read[0]
        named = {"variables": list(units), "units": list(units.values())} | self._moments
        return named | (asdict(self.kriged) if self.kriging else {})

    @cached_property
    def _moments(self) -> dict[str, list[float]]:
        maps, blocks = self._blocks("train")
        parts = []
        for one in maps:
            opened = torch.ones(one.shape[:2], dtype=torch.bool)
            for block in blocks:
                opened[_slices(block, one.shape[:2])] = False
            parts.append(one[opened])
        values = torch.cat(parts).double()
        count = (~values.isnan()).sum(0)
        center = values.nansum(0) / count
        spread = ((values - center) ** 2).nansum(0).div(count).sqrt()
        if not (spread > 0).all():
            raise ValueError(
                f"--dataset_name: expected values that differ in each variable, got spreads {spread.tolist()}"
            )
        return {"center": center.tolist(), "spread": spread.tolist()}

    @cached_property
    def kriged(self) -> Kriging:
        """Kriging with the kernels that suit whole training patches; of one length where patches are turned."""
        grid, generator = [self.patch_size] * 2, torch.Generator().manual_seed(0)
        rows = self._rows(self.patches("train", grid), self._moments)
        order = torch.randperm(len(rows), generator=generator).tolist()
        whole = (row.flatten(0, 1) for index in order if not (row := rows[index]).isnan().any())
        if not (found := list(islice(whole, FITTED_PATCHES))):
            raise ValueError("--kriging: expected patches without missing cells to fit kernels to, got none")
        values = torch.stack(found).movedim(-1, 1).flatten(0, 1)  # (patches · V, cells)
        return Kriging.fit(self.positions(grid), values, FITTED_CELLS, generator, isotropic=self.turn)

    def predictor(self, model: Any) -> Any:
        return predictor(model)

    def revise(
        self, batch: Batch, positions: Tensor, values: Tensor, context: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """With `--kriging`, residuals: of each observed value given the others, of the rest given what is observed."""
        if not self.kriging:
            return positions, values
        known = positions[:, :context], values[:, :context]
        mean, std = self.kriged.predict(*known, positions[:, context:])
        rest = (values[:, context:] - mean) / std
        return positions, torch.cat((self.kriged.left_out(*known), rest), 1).to(values.dtype)

    def load(self, seed: int) -> tuple[Rows, Rows]:
        grid = [self.patch_size] * 2
        training, validation = (self.patches(split, grid) for split in ("train", "validation"))
        say(f"{self.dataset_name}: {len(training):,} patches to train on, {len(validation):,} to validate on")
        return tuple(self._rows(part, self.standard, seed) for part in (training, validation))

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        if "kernels" in config.field and not self.kriging:
            raise ValueError(
                "--kriging: expected true for a checkpoint that was trained on what kriging leaves, of which only "
                "`--sections likelihood` knows, got false"
            )
        patches = self.patches(split, config.native_grid)
        patches.corners = patches.corners[:limit]
        return self._rows(patches, config.field)

    def _rows(self, patches: "Patches", standard: dict, seed: int = 0) -> Rows:
        center, spread = (torch.tensor(standard[name], dtype=torch.float32) for name in ("center", "spread"))
        return Rows(patches, lambda patch: (patch - center) / spread, cache_bytes=0)

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {
            "native_grid": self.grid_of(rows[0]),
            "value_dim": rows[0].shape[-1],
            "value_range": None,
            "quantization_step": None,
            "num_bins": 4,
            "position_bandwidth": 1.0,  # values of a field that is worth mapping change little from cell to cell
            "rotary_max_frequency": 8 * math.pi,
            "offset_radius": None,
            "min_std": 1e-3,
            "max_std": 4.0,
            "max_buffer_share": 0.1,
            "field": self.standard,
        }

    def num_cells(self, fields: dict[str, Any]) -> int:
        """Of the patch that has the fewest cells with a value, in whatever split."""
        grid = tuple(fields["native_grid"])
        if grid not in self._fewest:
            known = SPLITS if {"", "train"} & set(self._maps) else self._maps
            self._fewest[grid] = min(self.patches(split, list(grid)).fewest for split in known)
        return self._fewest[grid]

    @cached_property
    def _fewest(self) -> dict[tuple[int, ...], int]:
        return {}

    def pairs(
        self, batch: Batch, count: int, generator: torch.Generator | None = None, continuous: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As inherited, at cells that have a value. Where cells are missing and too few are left, cells repeat."""
        missing = missing_cells(batch)
        if not missing.any():
            return super().pairs(batch, count, generator, continuous)
        if continuous:
            raise FlagError("--continuous_probability: expected 0 where fields have missing cells, got more")
        if count <= int((~missing).sum(1).min()):
            keys = torch.rand(missing.shape, generator=generator, device=missing.device).masked_fill(missing, -1.0)
            cells = keys.topk(count, -1).indices
        else:
            cells = torch.multinomial((~missing).float(), count, replacement=True, generator=generator)
        return cell_positions(self.grid_of(batch[0]), cells), values_at_cells(batch, cells)

    def grid_values(self, batch: Batch, grid: list[int]) -> Tensor:
        values = super().grid_values(batch, grid)
        if values.isnan().any():
            raise ValueError(
                "fields: expected whole patches, as whole grids are asked for, got some with missing cells"
            )
        return values

    def is_native(self, row: Tensor, grid: list[int]) -> bool:
        return super().is_native(row, grid) and not self.kriging and not bool(row.isnan().any())

    def observe(
        self, batch: Batch, pattern: Pattern, grid: list[int], generator: torch.Generator | None = None
    ) -> Observation:
        """As inherited, without missing cells; where fields of a batch keep different numbers, the smallest of all."""
        missing = missing_cells(batch)
        positions = self.positions(grid).to(batch.device).expand(len(batch), -1, -1)
        parts = []
        for indices in pattern.observe(positions, generator):
            gone = missing.gather(1, indices)
            kept = indices.gather(1, gone.to(torch.uint8).argsort(dim=1, stable=True))[:, : int((~gone).sum(1).min())]
            parts += [positions.gather(1, kept[..., None].expand(-1, -1, 2)), values_at_cells(batch, kept)]
        return Observation(*parts)

    def pyramid(self, batch: Batch, num_scales: int, levels: Any = None) -> list[Tensor]:
        if self.kriging:  # it leaves residuals of single cells, whose averages are not those of values
            raise ValueError(f"--num_scales: expected 1 with --kriging, got {num_scales}")
        if missing_cells(batch).any():
            raise ValueError(
                f"--num_scales: expected 1, as fields with missing cells have no averages, got {num_scales}"
            )
        return super().pyramid(batch, num_scales, levels)

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        random = torch.rand(len(batch), 3, generator=generator, device=batch.device) < 0.5
        if self.mirror or self.turn:
            for axis in (1, 2):
                batch = torch.where(random[:, axis - 1, None, None, None], batch.flip(axis), batch)
            if self.turn and batch.shape[1] == batch.shape[2]:
                batch = torch.where(random[:, 2, None, None, None], batch.transpose(1, 2), batch)
        if self.shift:
            size = (len(batch), 1, 1, batch.shape[-1])
            batch = batch + self.shift * torch.randn(size, generator=generator, device=batch.device)
        return batch

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        """The first channel, dark where it is low."""
        first = values[:, 0].detach().float().cpu().view(grid[1], grid[0])
        colours = matplotlib.colormaps["viridis"](((first + SHOWN) / (2 * SHOWN)).clamp(0, 1).numpy(), bytes=True)
        pixels = colours[..., :3].copy()
        pixels[first.isnan().numpy()] = NOTHING
        return Image.fromarray(pixels)

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        few = (8, 32, 128)
        return EvaluationPlan(
            contexts=(0, 4, 8, 16, 32, 64, 128, 256),
            few_contexts=few,
            samples=SamplePlan(contexts=few),
        )

    def describe(self, count: int) -> str:
        names = ", ".join(
            f"{name} ({unit})" if unit else name
            for name, unit in zip(self.standard["variables"], self.standard["units"], strict=True)
        )
        return f"{count:,} overlapping patches of the field `{self.source()[0]}`: {names}."

    def source(self) -> tuple[str, str | None]:
        return Path(self.dataset_name).stem, None


class Patches(Sequence):
    """Patches (y, x, V) of maps, by the corners (map, y, x) where they begin.

    Attributes:
        fewest (`int`): Cells with a value in the patch that has the fewest.
    """

    def __init__(self, maps: list[Tensor], corners: list[tuple[int, int, int]], grid: list[int], fewest: int):
        self.maps, self.corners, self.grid, self.fewest = maps, corners, grid, fewest

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, index: int) -> Tensor:
        number, y, x = self.corners[index]
        return self.maps[number][y : y + self.grid[1], x : x + self.grid[0]]


def predictor(model: Any) -> Any:
    """What answers for a checkpoint for fields: itself or, if it was trained on residuals, kriging and the model."""
    kernels = (model.config.field or {}).get("kernels")
    if kernels is None:
        return model
    return Kriged(model, Kriging(tuple(Kernel(**kernel) for kernel in kernels)))


def missing_cells(batch: Tensor) -> Tensor:
    """True (B, cells) where any channel of fields (B, y, x, V) has no value."""
    return batch.isnan().any(-1).flatten(1)


def _slices(block: list[float], shape: Sequence[int]) -> tuple[slice, slice]:
    """Rows and columns of a block (x0, y0, x1, y1), shares of the sides of a map of shape (y, x)."""
    x0, y0, x1, y1 = block
    return (
        slice(round(y0 * shape[0]), round(y1 * shape[0])),
        slice(round(x0 * shape[1]), round(x1 * shape[1])),
    )


def _corners(
    missing: Tensor, closed: Tensor | None, grid: list[int], stride: int | None, most: float
) -> tuple[Tensor, int]:
    """Corners (N, 2), rows before columns, of patches without a closed cell and few missing ones.

    Also the largest number of cells that one of them lacks. Patches lie `stride` apart; `None`: side by side.
    """
    sides, steps = grid[::-1], (grid[::-1] if stride is None else [stride, stride])
    if missing.shape[0] < sides[0] or missing.shape[1] < sides[1]:
        return torch.zeros(0, 2, dtype=torch.long), 0

    def count(mask: Tensor) -> Tensor:
        return (F.avg_pool2d(mask.double()[None], sides, steps)[0] * sides[0] * sides[1]).round().long()

    lacking = count(missing)
    kept = lacking <= most * sides[0] * sides[1]
    if closed is not None:
        kept &= count(closed) == 0
    corners = kept.nonzero()
    return corners * torch.tensor(steps), int(lacking[kept].max()) if len(corners) else 0
