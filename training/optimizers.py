"""Optimisers, their schedule, and the running average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def make_optimizers(model: nn.Module, name: str, lr: float, adam_lr: float, weight_decay: float) -> list:
    """Optimisers for all parameters.

    "muon": `torch.optim.Muon` (orthogonalised momentum, Jordan et al. 2024) for the matrices of encoder and decoder,
    AdamW at `adam_lr` for embeddings, head, norms and frequencies. "adamw": AdamW at `adam_lr` for all.
    Only matrices are decayed.
    """
    inner, matrices, rest = [], [], []
    for path, parameter in model.named_parameters():
        is_matrix = parameter.dim() == 2 and "frequencies" not in path
        if is_matrix and name == "muon" and path.startswith(("encoder.", "decoder.")):
            inner.append(parameter)
        else:
            (matrices if is_matrix else rest).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizers = [torch.optim.AdamW(groups, lr=adam_lr, betas=(0.9, 0.98))]
    if inner:
        muon = torch.optim.Muon(inner, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


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

    def average(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        rate = min(decay, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(current, averaged, rate)

    return AveragedModel(model, avg_fn=average)
