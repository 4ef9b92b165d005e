"""The questions that every model of the field is asked, PixelTransformer among them.

All have `predict`, `sample` and `log_prob` with the same arguments. An autoregressive model says by `refusal` which
contexts it cannot answer; PixelTransformer answers all and has none.
"""

from functools import partial
from typing import Any, Protocol

from torch import Tensor

from pixeltransformer.patterns import Pattern, anywhere, around_center, outside, strokes, toward

# What is observed, by what is hidden.
HIDDEN = {
    "bottom half": Pattern(toward(0, -1), 1 / 2),
    "top half": Pattern(toward(0, 1), 1 / 2),
    "left half": Pattern(toward(1, 0), 1 / 2),
    "random 90 %": Pattern(anywhere, 1, density=1 / 10),
    "centre": Pattern(outside(around_center), 3 / 4),
    "all but strokes": Pattern(partial(strokes, count=3, length=0.6), 1 / 15),
}


class FieldModel(Protocol):
    """What the table and the app ask."""

    config: Any

    def native_positions(self) -> Tensor: ...
    def predict(self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor) -> Any: ...
    def sample(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, num_samples: int = 1
    ) -> Tensor: ...
    def log_prob(
        self, context_positions: Tensor, context_values: Tensor, query_positions: Tensor, query_values: Tensor
    ) -> Tensor: ...


def refusal(
    model: FieldModel, task: str, context_positions: Tensor, query_positions: Tensor | None = None
) -> str | None:
    """One sentence that says why a model cannot answer "predict", "sample" or "log_prob"; `None` if it can."""
    if not hasattr(model, "refusal"):
        return None
    return model.refusal(task, context_positions, query_positions)


def can(model: FieldModel, task: str, context_positions: Tensor, query_positions: Tensor | None = None) -> bool:
    """Whether a model can answer."""
    return refusal(model, task, context_positions, query_positions) is None


def num_levels(model: FieldModel) -> int | None:
    """Levels of a channel; `None` for real values."""
    step = model.config.quantization_step
    return None if step is None else round(1 / step) + 1
