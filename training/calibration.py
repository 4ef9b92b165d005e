"""The last phase of a training: standard deviations that fit the averaged weights."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from pixeltransformer.head import ChannelHead
from pixeltransformer.modeling_pixeltransformer import PixelTransformerModel
from training.losses import without_gaps

SPLIT = 0.25  # initial difference of log-stds between the parts of a component, in units of the head's output


def fit_scales(
    model: PixelTransformerModel,
    episodes: Iterator[dict[str, Tensor]],
    steps: int,
    precision: Callable[[], AbstractContextManager],
    learning_rate: float = 1e-2,
) -> None:
    """Fit the components by likelihood; their means and everything else in `model` are frozen.

    What is fitted are weights, standard deviations and, where channels depend on each other, their coefficients.

    During training, standard deviations learn the errors of weights that still move. The running average of the weights
    has smaller errors (half as large, for signals that are known almost exactly), so its intervals would be too wide.
    The fit uses queries given a context, as in `predict`: buffer values have larger errors and would widen the
    intervals again.

    Args:
        model: Changed in place.
        episodes: Arguments of the model, as `training.episodes.make_episode` returns them. Those with values that are
            not finite are left out.
        precision: Returns the context manager of a forward pass, like `accelerator.autocast`.
        learning_rate (`float`): Peak rate of AdamW, which falls linearly to 0.
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
    lowest = 0.0 if model.config.value_range is None else model.config.value_range[0]
    model.train().requires_grad_(False)
    nn.ModuleList(heads).requires_grad_(True)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        episode, whole = without_gaps(without_buffer(next(episodes)), lowest)
        with precision():
            loss = model(**episode).loss * whole
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
    """The episode with its buffer turned into queries."""
    parts = {name: tensor for name, tensor in episode.items() if not name.startswith("buffer_")}
    for name in ("positions", "values", "scales"):
        if f"buffer_{name}" in episode:
            parts[f"query_{name}"] = torch.cat((parts[f"query_{name}"], episode[f"buffer_{name}"]), 1)
    return parts


@torch.no_grad()
def split_components(model: PixelTransformerModel, count: int) -> None:
    """Replace each component by `count` components with the same mean, a share of its weight and stds around its own.

    Predicted means do not change. Several standard deviations per mean can fit errors with heavier tails than a
    Gaussian, which networks make where values are known almost exactly. With a `count` of 1 nothing changes.
    """
    if count == 1:
        return
    config, head = model.config, model.head
    bins, channels = config.num_bins, config.value_dim
    before = model.log_std_offset()
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
    model.head.bias[-config.num_bins :] += apart + before - model.log_std_offset()
