"""Optimisers, their schedule, and the running average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from training.arguments import Arguments


def make_optimizers(model: nn.Module, arguments: Arguments) -> list[torch.optim.Optimizer]:
    """Optimisers for all parameters.

    "muon": `torch.optim.Muon` (orthogonalised momentum, Jordan et al. 2024) for the matrices of encoder and decoder,
    AdamW for embeddings, head, norms and frequencies. "adamw": AdamW for all. Only matrices are decayed.
    """
    inner, matrices, rest = [], [], []
    for path, parameter in model.named_parameters():
        is_matrix = parameter.dim() == 2 and "frequencies" not in path
        if is_matrix and arguments.optimizer == "muon" and path.startswith(("encoder.", "decoder.")):
            inner.append(parameter)
        else:
            (matrices if is_matrix else rest).append(parameter)
    optimizers = [torch.optim.AdamW([{"params": matrices}, {"params": rest}], betas=(0.9, 0.98))]
    if inner:
        optimizers.append(torch.optim.Muon(inner, adjust_lr_fn="match_rms_adamw"))
    set_peaks(optimizers, arguments)
    return optimizers


def set_peaks(optimizers: list, arguments: Arguments) -> None:
    """Give the groups of `make_optimizers` their peak rates and weight decay."""
    for optimizer, peak in zip(optimizers, (arguments.adam_learning_rate, arguments.learning_rate), strict=False):
        for group in optimizer.param_groups:
            group["peak_lr"] = peak
            group["weight_decay"] = arguments.weight_decay
    optimizers[0].param_groups[1]["weight_decay"] = 0.0


def schedule(progress: float, warmup: float, decay: str) -> float:
    """Factor of the peak learning rate at `progress` in [0, 1]: linear warm-up, then "linear" or "cosine" to 0."""
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    rest = min((progress - warmup) / max(1 - warmup, 1e-9), 1.0)
    return 1 - rest if decay == "linear" else 0.5 * (1 + math.cos(math.pi * rest))


def set_learning_rate(optimizers: list, factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


def make_ema(model: nn.Module, decay: float) -> AveragedModel:
    """Running average of the weights; short at first, so that the initial weights are soon forgotten."""

    @torch.no_grad()
    def average(averaged: list[torch.Tensor], current: list[torch.Tensor], count: torch.Tensor) -> None:
        rate = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - rate)

    return AveragedModel(model, multi_avg_fn=average)
