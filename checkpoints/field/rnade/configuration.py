"""The configuration that all models of the field share: what they model, and where they come from."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class FieldConfig(PreTrainedConfig):
    """Kind of data of an autoregressive model. Each model has a subclass with its sizes, in its own file.

    Args:
        native_grid: Sides of the grid of cells, x first: (28, 28) for MNIST, (256,) for curves.
        value_dim: Channels V of a value.
        num_levels: Levels of a channel, spread evenly over [0, 1]: 2 for binary images, 256 for 8 bits. `None` for
            real values without bounds.
        provenance: How it was made, for the model card.
    """

    model_type = "autoregressive-field"

    native_grid: list[int] | tuple[int, ...] = (28, 28)
    value_dim: int = 1
    num_levels: int | None = 2
    provenance: dict | None = None

    @property
    def num_cells(self) -> int:
        """Cells D of the grid."""
        cells = 1
        for side in self.native_grid:
            cells *= side
        return cells

    @property
    def position_dim(self) -> int:
        """Dimensions P of a position."""
        return len(self.native_grid)

    @property
    def value_range(self) -> list[float] | None:
        """Smallest and largest value, as PixelTransformer's config has it."""
        return None if self.num_levels is None else [0.0, 1.0]

    @property
    def quantization_step(self) -> float | None:
        """Distance of two levels, as PixelTransformer's config has it."""
        return None if self.num_levels is None else 1 / (self.num_levels - 1)
