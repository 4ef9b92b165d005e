"""What a training step minimises."""

import math

import torch
from torch import Tensor

from pixeltransformer.distribution import ValueDistribution
from pixeltransformer.modeling_pixeltransformer import PixelTransformerOutput


def without_gaps(episode: dict[str, Tensor], filler: float) -> tuple[dict[str, Tensor], Tensor]:
    """The episode with `filler` for values that are not finite, and a factor () of its loss: NaN if there were such.

    The model refuses such values. A training leaves out the step instead: with this factor its loss and its gradients
    are NaN on all processes, none of which may leave the others waiting.
    """
    values = {name: part for name, part in episode.items() if name.endswith("_values")}
    finite = torch.stack([part.isfinite().all() for part in values.values()]).all()
    filled = {name: torch.where(part.isfinite(), part, filler) for name, part in values.items()}
    return episode | filled, torch.where(finite, 1.0, math.nan)


def weighted_loss(output: PixelTransformerOutput, targets: dict[str, Tensor], beta: float) -> Tensor:
    r"""Mean negative log-likelihood of queries and buffer, for the means weighted by the variance to the power `beta`.

    The gradient of a Gaussian's log-likelihood by its mean is divided by the variance, so that values known almost
    exactly drown out those that are not. β-NLL (Seitzer et al., ICLR 2022, Eq. 5) takes some of that back, for the
    means alone here: weights and scales of the components learn from the likelihood as it is, so that they stay
    calibrated. The weights have mean 1 and no gradient, and the optimum still is the true distribution. 0 is the plain
    likelihood.

    Args:
        targets: "query_values" (B, Q, V) and, with a buffer, "buffer_values" (B, M, V): the episode's, or several
            copies (n, B, …), see `training.exact`.

    Returns:
        `Tensor` (): What to minimise; its value has no meaning of its own (`output.loss` is the likelihood).
    """
    if not beta and targets["query_values"].dim() == 3:
        return output.loss
    pairs = [(output.distribution, targets["query_values"])]
    if output.buffer_distribution is not None:
        pairs.append((output.buffer_distribution, targets["buffer_values"]))
    count = sum(distribution.log_weights[..., 0].numel() for distribution, _ in pairs)
    weights = [distribution.variance.detach().mean(-1) ** beta for distribution, _ in pairs]
    total = sum(weight.sum() for weight in weights)
    loss = 0.0
    for (distribution, values), weight in zip(pairs, weights, strict=True):
        # Where channels depend on each other, coefficients and later channels' means learn from the same residuals.
        fixed = {name: part.detach() for name, part in distribution.parts.items() if name != "means"}
        of_means = distribution.with_parts(**fixed)
        of_rest = distribution.with_parts(means=distribution.means.detach())
        of_means, of_rest = (_mean_log_prob(part, values) for part in (of_means, of_rest))
        loss = loss - (weight * of_means).sum() / total - of_rest.sum() / count
    return loss


def _mean_log_prob(distribution: ValueDistribution, values: Tensor) -> Tensor:
    """Log-likelihoods (B, N) of values (B, N, V), or their means over copies (n, B, N, V)."""
    log_prob = distribution.log_prob(values)
    return log_prob if values.dim() == 3 else log_prob.mean(0)
