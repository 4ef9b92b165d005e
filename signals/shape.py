"""3D shapes as signals: signed distances from occupancy grids or from meshes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor

from signals.base import Batch, Observation, Rows, flag
from signals.cells import cell_positions, values_at_positions, weighted_cells
from signals.data import DatasetSignal, find_column, first_rows, load_media, pick_split
from signals.mesh import EXTENSIONS, mesh_to_sdf, normalize, occupancy_to_sdf, read_mesh
from signals.patterns import Pattern, anywhere, around_center, half_space, ranked, toward
from signals.plan import EvaluationPlan
from signals.streams import Stream
from signals.surface import has_surface, surface_points

NOISE = 0.03  # largest standard deviation of noisy points on a surface, in the units of positions
NEAR = 1.5  # a position within so many cells of the surface counts as near it


@dataclass
class Shapes(DatasetSignal):
    """Signed distances: positions (x, y, z), values truncated distances in the same units, negative inside."""

    kind: ClassVar[str] = "shape"
    plural: ClassVar[str] = "shapes"
    coordinates: ClassVar[tuple[int, ...]] = (0, 1, 2)
    patterns: ClassVar[dict[str, Pattern]] = {
        "random distances": Pattern(anywhere, 1, density=1 / 32),
        "one side": Pattern(toward(0, -1, 0), 1 / 2, density=1 / 16),
        "lower half": Pattern(toward(0, 0, -1), 1 / 2, density=1 / 16),
        "a slab": Pattern(partial(around_center, axes=(2,)), 1 / 8, density=1 / 4),
        "surface": Pattern(anywhere, 1, density=1 / 32, surface=True),
        "surface of the front": Pattern(toward(0, -1, 0), 1 / 2, density=1 / 16, surface=True),
    }
    held_out: ClassVar[int] = 50

    dataset_name: str | None = flag(
        "Dataset with a column of occupancy grids (x, y, z) or of meshes, or a folder of mesh files."
    )
    shape_column: str | None = flag("Column with the grids or meshes; needed only where there are several.")
    shape_size: int = flag("Cells along each axis of a mesh's distance field; occupancy grids come as they are.", 32)
    truncation: float = flag("Distances are cut off here; positions span [-1, 1].", 1.5)
    near_surface: float = flag(
        "Share of positions close to the surface, for the signals that have such positions.", 0.0
    )
    near_surface_probability: float = flag("Share of signals with some positions chosen close to the surface.", 1.0)
    surface_probability: float = flag(
        "Share of training signals that are observed at points on the surface, as a scanner sees them.", 0.3
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("shape_size", "truncation"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name}: expected a number above 0, got {getattr(self, name)}")
        for name in ("near_surface", "near_surface_probability", "surface_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name}: expected a number from 0 to 1, got {getattr(self, name)}")

    def load(self, seed: int) -> tuple[Rows, Rows]:
        parts = self.hold_out(self.splits(), seed)
        grid = [self.shape_size] * 3
        training, validation = (self._rows(part, grid, self.truncation, self.max_bad_rows) for part in parts)
        return training, validation

    def load_split(self, split: str, config: Any, limit: int | None = None) -> Rows:
        rows = first_rows(pick_split(self.splits(), split), limit)
        return self._rows(rows, config.native_grid, config.value_range[1])

    def splits(self) -> datasets.DatasetDict:
        feature = datasets.Mesh(decode=False)
        return load_media(self.dataset_name, EXTENSIONS, "mesh", feature, self.cache_dir, self.streaming)

    def _rows(self, rows: Dataset | Stream, grid: list[int], truncation: float, skip: int = 0) -> Rows:
        kinds = (datasets.Mesh, datasets.Array3D)
        column = find_column(rows.features, kinds, "an occupancy or mesh", self.shape_column, "shape_column")
        rows = rows.select_columns([column])
        if isinstance(rows.features[column], datasets.Mesh):
            rows = rows.cast_column(column, datasets.Mesh(decode=False))
            return self.make_rows(rows, partial(_read_mesh_row, column, grid, truncation), rows, column, skip)
        rows = rows.with_format("numpy")
        return self.make_rows(rows, partial(_read_occupancy_row, column, truncation), rows, column, skip)

    def config_fields(self, rows: Rows) -> dict[str, Any]:
        return {
            "native_grid": self.grid_of(rows[0]),
            "value_dim": 1,
            "value_range": [-self.truncation, self.truncation],
            "quantization_step": None,
            "num_bins": 32,
            "max_buffer_share": 0.05,  # distances are known to a thousandth from a few hundred
        }

    def pairs(
        self, batch: Batch, count: int, generator: torch.Generator | None = None, continuous: bool = False
    ) -> tuple[Tensor, Tensor]:
        if not isinstance(batch, Tensor) or self.near_surface == 0 or count > batch[0].numel():
            return super().pairs(batch, count, generator, continuous)
        # Cells without replacement, those near the surface weighted so that their share of a draw is as wanted.
        grid = self.grid_of(batch[0])
        near = batch.flatten(1).abs() < NEAR * 2 / max(grid)  # (B, cells)
        fraction = near.float().mean(1, keepdim=True).clamp(1e-3, 1 - 1e-3)
        share = min(self.near_surface, 0.99)
        weight = share * (1 - fraction) / (fraction * (1 - share))
        chosen = torch.rand(len(batch), 1, generator=generator, device=batch.device) < self.near_surface_probability
        cells = weighted_cells(torch.where(near & chosen, weight, 1.0), count, generator)
        positions = cell_positions(grid, cells)
        if continuous:  # anywhere in the cell
            jitter = torch.rand(positions.shape, generator=generator, device=batch.device) * 2 - 1
            positions = positions + jitter / torch.tensor(grid, device=batch.device)
        return positions, values_at_positions(batch, positions)

    def revise(
        self, batch: Batch, positions: Tensor, values: Tensor, context: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Some signals are observed at points on the surface, where the distance is 0: all of it or one side of it.

        A side is from a third of the surface to all of it. Of the signals observed in this way, a third keep distances
        elsewhere as a part of the context, and half have noisy points.
        """
        numbers = torch.rand(len(batch), 6, generator=generator, device=batch[0].device)
        if not context or not isinstance(batch, Tensor):
            return positions, values
        rows = ((numbers[:, 0] < self.surface_probability) & has_surface(batch)).nonzero()[:, 0]
        if not len(rows):
            return positions, values
        points = surface_points(batch[rows], 3 * context, generator)
        sides, every = ranked(half_space(points, generator), generator), torch.arange(3 * context, device=points.device)
        # The context is a random part of the side, as many points whatever its size.
        outside = every >= context * (1 + 2 * numbers[rows, 5:])
        drawn = torch.rand(outside.shape, generator=generator, device=points.device).masked_fill(outside, 2).argsort(1)
        order = torch.where(numbers[rows, 1:2] < 0.5, sides.gather(1, drawn), every)
        points = points.gather(1, order[:, :context, None].expand(-1, -1, 3))
        noise = NOISE * numbers[rows, 2] * (numbers[rows, 3] < 0.5)
        points = points + noise[:, None, None] * torch.randn(points.shape, generator=generator, device=points.device)
        share = (1.5 * numbers[rows, 4]).clamp(max=1)  # of the context that lies on the surface
        on_surface = torch.arange(context, device=points.device) < (share[:, None] * context).ceil()
        positions, values = positions.clone(), values.clone()
        seen = torch.where(on_surface[..., None], points.clamp(-1, 1), positions[rows, :context])
        positions[rows, :context] = seen
        values[rows, :context] = torch.where(on_surface[..., None], 0.0, values[rows, :context])
        return positions, values

    def observe(
        self, batch: Batch, pattern: Pattern, grid: list[int], generator: torch.Generator | None = None
    ) -> Observation:
        if not pattern.surface:
            return super().observe(batch, pattern, grid, generator)
        values = self.grid_values(batch, grid)
        points = points_of(pattern, batch, generator)
        positions = self.positions(grid).to(values.device).expand(len(values), -1, -1)
        return Observation(points, torch.zeros_like(points[..., :1]), positions, values)

    def render(self, values: Tensor, grid: list[int]) -> Image.Image:
        return shade(values.nan_to_num(self.truncation).view(*grid[::-1]))

    @classmethod
    def evaluation_plan(cls) -> EvaluationPlan:
        from signals.figures import shape as figures
        from signals.measures import shape_quality
        from signals.shape_samples import DRAWN, ShapeSamples, new_shapes

        return EvaluationPlan(
            contexts=(0, 32, 128, 512, 2048),
            few_contexts=(32, 128, 512),
            signals={
                "likelihood": 90, "patterns": 90, "joint": 8, "references": 16, "buffer": 16, "generalisation": 24
            },
            joint_signals=4,
            samples=ShapeSamples(signals=4, samples=2, contexts=(32, 128, 512, 2048), drawn=DRAWN),
            measure=shape_quality,
            view=figures.SurfaceView(),
            draw=figures.draw,
            draw_new=figures.draw_new,
            new=new_shapes,
        )  # fmt: skip

    def describe(self, count: int) -> str:
        return f"Signed distances of {count:,} shapes of `{self.source()[0]}`, split `{self.train_split}`."


def _read_mesh_row(column: str, grid: list[int], truncation: float, row: dict) -> Tensor:
    return mesh_row_to_sdf(row[column], grid).clamp(-truncation, truncation)


def _read_occupancy_row(column: str, truncation: float, row: dict) -> Tensor:
    return occupancy_to_sdf(row[column]).clamp(-truncation, truncation)


def points_of(pattern: Pattern, fields: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Points (B, K, 3) on the surfaces of fields (B, z, y, x, 1) in the region of a pattern of surfaces."""
    total = fields[0].numel()
    count = max(round(pattern.share * pattern.density * total), 1)
    points = surface_points(fields, round(count / pattern.share), generator)
    order = ranked(pattern.score(points, generator), generator)[:, :count, None]
    return points.gather(1, order.expand(-1, -1, 3))


def mesh_row_to_sdf(row: dict, grid: list[int]) -> Tensor:
    """Signed distances of a row of a `datasets.Mesh` column, its path in any error."""
    path = row.get("path")
    name = path or "mesh of the dataset"
    if row.get("bytes") is None:
        mesh = read_mesh(path)
    else:
        mesh = read_mesh(row["bytes"], name, Path(path).suffix.lstrip(".").lower() if path else "glb")
    return mesh_to_sdf(normalize(mesh), grid)


def shade(sdf: Tensor) -> Image.Image:
    """Front view (from -y) of signed distances (z, y, x): brightness from the surface's slope, white where empty."""
    volume = sdf.detach().float().cpu().numpy()
    inside = volume < 0
    hit, first = inside.any(1), inside.argmax(1)  # (z, x)
    gradient = np.stack(np.gradient(volume), -1)  # along z, y, x
    normal = np.take_along_axis(gradient, first[:, None, :, None], 1)[:, 0]
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    light = np.array([0.5, -0.75, -0.43])
    brightness = 0.25 + 0.7 * (normal @ light).clip(0, 1)
    picture = np.where(hit, brightness, 1.0)[::-1]  # z upwards
    return Image.fromarray((picture * 255).astype(np.uint8)).convert("RGB").resize((96, 96), Image.Resampling.NEAREST)
