"""The last phase of a training: scales that fit the averaged weights."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from pixeltransformer.head import ChannelHead
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel

SPLIT = 0.25  # how far apart the scales of a component's parts start, in units of the head's output


def fit_scales(
    model: PixelTransformerModel,
    episodes: Iterator[dict[str, Tensor]],
    steps: int,
    precision: Callable[[], AbstractContextManager],
    learning_rate: float = 1e-2,
) -> None:
    """Fit the head's weights and scales of components by likelihood, with all else of `model` frozen, in place.

    Scales learn the errors of weights that still move; the running average of the weights errs less, for signals that
    are known almost exactly by half, and would be left with intervals far too wide. They are fitted to queries given a
    context, as `predict` is asked: buffer values, whose errors are larger, would widen them again.

    Args:
        episodes: Arguments of the model, as `training.batches.make_episode` gives them.
        precision: Gives the context of a forward pass, as `accelerator.autocast` does.
        learning_rate (`float`): Peak rate of AdamW, falling linearly to 0.
    """
    bins, channels = model.config.num_bins, model.config.value_dim
    of_means = slice(bins, bins + bins * channels)  # rows of the head, see `value_distribution`
    heads = [head for head in (model.head, model.channel_head) if head is not None]
    head = list(model.head.parameters())
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    optimizer = torch.optim.AdamW(
        [*nn.ModuleList(heads).parameters()], learning_rate, betas=(0.9, 0.98), weight_decay=0
    )
    was_training = model.training
    model.train().requires_grad_(False)
    nn.ModuleList(heads).requires_grad_(True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        with precision():
            loss = model(**without_buffer(next(episodes))).loss
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


def without_buffer(episode: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same positions, those of the buffer being queries too."""
    parts = {name: tensor for name, tensor in episode.items() if not name.startswith("buffer_")}
    for name in ("positions", "values", "scales"):
        if f"buffer_{name}" in episode:
            parts[f"query_{name}"] = torch.cat((parts[f"query_{name}"], episode[f"buffer_{name}"]), 1)
    return parts


@torch.no_grad()
def split_components(model: PixelTransformerModel, count: int) -> None:
    """Replace each component by `count` components with the same mean, a share of its weight and stds around its own.

    Predicted means stay as they are. What the scales are then fitted to may have heavier tails than a Gaussian: errors
    of a network, where what it predicts is known almost exactly.
    """
    config, head = model.config, model.head
    bins, channels = config.num_bins, config.value_dim
    before = model.scale_offset()
    config.num_bins = bins * count
    model.head = nn.Linear(head.in_features, config.num_bins * (channels + 2), device=head.weight.device)
    for old, new in ((head.weight, model.head.weight), (head.bias, model.head.bias)):
        parts = [part.unflatten(0, (bins, -1)) for part in old.split((bins, bins * channels, bins))]
        new.copy_(torch.cat([part.repeat_interleave(count, 0).flatten(0, 1) for part in parts]))
    if model.channel_head is not None:
        old, rows = model.channel_head, model.channel_head.out_features // bins
        model.channel_head = ChannelHead(old.in_features, config.num_bins, channels).to(old.weight.device)
        for before_split, after in ((old.weight, model.channel_head.weight), (old.bias, model.channel_head.bias)):
            parts = before_split.unflatten(0, (bins, rows))
            after.copy_(parts.repeat_interleave(count, 0).flatten(0, 1))
    model.bin_centers = model.bin_centers.repeat_interleave(count, 0)
    apart = torch.linspace(-SPLIT, SPLIT, count, device=head.weight.device).repeat(bins)
    model.head.bias[-config.num_bins :] += apart + before - model.scale_offset()
