"""The last phase of a training: scales that fit the averaged weights."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from modeling_pixeltransformer import PixelTransformerModel


def fit_scales(
    model: PixelTransformerModel,
    episodes: Iterator[dict[str, Tensor]],
    steps: int,
    precision: Callable[[], AbstractContextManager],
    learning_rate: float = 2e-3,
) -> None:
    """Fit the head's weights and scales of components by likelihood, with all else of `model` frozen, in place.

    Scales learn the errors of weights that still move; the running average of the weights errs less, for signals that
    are known almost exactly by half, and would be left with intervals far too wide.

    Args:
        episodes: Arguments of the model, as `training.batches.make_episode` gives them.
        precision: Gives the context of a forward pass, as `accelerator.autocast` does.
        learning_rate (`float`): Peak rate of AdamW, falling linearly to 0.
    """
    bins, channels = model.config.num_bins, model.config.value_dim
    of_means = slice(bins, bins + bins * channels)  # rows of the head, see `value_distribution`
    head = list(model.head.parameters())
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    optimizer = torch.optim.AdamW(head, learning_rate, betas=(0.9, 0.98), weight_decay=0)
    was_training = model.training
    model.train().requires_grad_(False)
    model.head.requires_grad_(True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        with precision():
            loss = model(**next(episodes)).loss
        if not torch.isfinite(loss):
            continue
        loss.backward()
        for parameter in head:
            parameter.grad[of_means] = 0
        optimizer.step()
        optimizer.zero_grad()
    for parameter, requires_grad in wanted.items():
        parameter.requires_grad_(requires_grad)
    model.train(was_training)
