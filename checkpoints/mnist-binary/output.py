"""What a call of the model returns."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput

from .distribution import ValueDistribution


@dataclass
class PixelTransformerOutput(ModelOutput):
    """What `PixelTransformerModel.forward` returns.

    Args:
        loss (`Tensor` of shape `()`): With `query_values` only: mean negative log-likelihood in nats over queries and
            buffer values together.
        mean (`Tensor` of shape `(B, Q, V)`), log_prob (`Tensor` of shape `(B, Q)`): With `query_values` and outside of
            training only: mean of each query's distribution, and the log-likelihood of its true value in nats. These
            are the predictions that `transformers.Trainer` gathers and gives to `compute_metrics`.
        distribution (`ValueDistribution`, batch shape `(B, Q)`): Of each query given the context alone.
        buffer_distribution (`ValueDistribution`, batch shape `(B, M)`): Of each buffer value given the context and the
            buffer's earlier blocks.
    """

    loss: Tensor | None = None
    mean: Tensor | None = None
    log_prob: Tensor | None = None
    distribution: ValueDistribution | None = None
    buffer_distribution: ValueDistribution | None = None
