"""Linear and cubic interpolation between scattered positions (scipy); outside of them, the nearest value."""

import numpy as np
import torch
from scipy.interpolate import CloughTocher2DInterpolator, LinearNDInterpolator, make_interp_spline
from scipy.spatial import Delaunay, QhullError
from torch import Tensor

from baselines.base import PointwiseBaseline
from baselines.nearest import nearest_values


class Interpolation(PointwiseBaseline):
    """Interpolation between observed positions.

    On a line a spline; in the plane a Delaunay triangulation with linear faces or cubic ones with continuous slopes
    (Clough & Tocher); in space linear tetrahedra. Outside of what the positions enclose, and where they are too few, a
    query takes the value of the nearest position.

    Args:
        config: See `Baseline`; also `position_dim`.
        degree (`int`): 1 (linear) or 3 (cubic).

    Raises:
        ValueError: for another degree, or cubic interpolation of more than two dimensions, which scipy lacks.
    """

    def __init__(self, config, degree: int):
        super().__init__(config)
        if degree not in (1, 3):
            raise ValueError(f"degree: expected 1 (linear) or 3 (cubic), got {degree!r}")
        if degree == 3 and config.position_dim > 2:
            raise ValueError(f"degree: expected 1, as positions have {config.position_dim} dimensions, got 3")
        self.degree = degree

    def values(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Tensor:
        nearest = nearest_values(context_positions, context_values, query_positions)
        items = zip(context_positions, context_values, query_positions, strict=True)
        parts = [self._interpolate(*(x.double().cpu().numpy() for x in item)) for item in items]
        found = torch.from_numpy(np.stack(parts)).to(nearest)
        found = torch.where(found.isnan(), nearest, found)
        return found if self.value_range is None else found.clamp(*self.value_range)

    def _interpolate(self, positions: np.ndarray, values: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Values (Q, V) of one signal; NaN where interpolation does not reach."""
        nowhere = np.full((len(queries), values.shape[1]), np.nan)
        if positions.shape[1] == 1:
            x, first = np.unique(positions[:, 0], return_index=True)
            if len(x) <= self.degree:
                return nowhere
            spline = make_interp_spline(x, values[first], k=self.degree)
            return spline(queries[:, 0], extrapolate=False)
        try:
            mesh = Delaunay(positions)
        except QhullError:  # fewer positions than a simplex has corners, or all on one line
            return nowhere
        kind = LinearNDInterpolator if self.degree == 1 else CloughTocher2DInterpolator
        return kind(mesh, values)(queries)
