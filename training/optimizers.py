"""Optimisers, their schedule, and the running average of the weights."""

import math
from types import SimpleNamespace

import torch
from accelerate import Accelerator, DistributedType
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim.swa_utils import AveragedModel

from training.arguments import Arguments
from training.muon import BatchedMuon


def make_optimizers(
    model: nn.Module, arguments: Arguments, inner: dict[nn.Parameter, int]
) -> list[torch.optim.Optimizer]:
    """Optimisers for all parameters.

    "muon": Muon (orthogonalised momentum, Jordan et al. 2024) for the `inner` weights, AdamW for the others. "adamw":
    AdamW for all. Only matrices are decayed.

    Args:
        inner (`dict`): Matrices and kernels between a network's first and last layer, and how many each of them joins.
    """
    inner = inner if arguments.optimizer == "muon" else {}
    matrices, rest = [], []
    for path, parameter in model.named_parameters():
        if parameter not in inner:
            is_matrix = parameter.dim() == 2 and "frequencies" not in path
            (matrices if is_matrix else rest).append(parameter)
    optimizers = [torch.optim.AdamW([{"params": matrices}, {"params": rest}], betas=(0.9, 0.98))]
    if inner:
        optimizers.append(BatchedMuon(list(inner), list(inner.values())))
    set_peaks(optimizers, arguments)
    return optimizers


def matrices_of_layers(model: nn.Module) -> dict[nn.Parameter, int]:
    """The weights of all linear layers in encoder and decoder, and how many projections each of them joins."""
    return {
        module.weight: len(getattr(module, "sizes", [module.out_features]))
        for stack in (model.encoder, model.keys_values, model.decoder)
        for module in stack.modules()
        if isinstance(module, nn.Linear)
    }


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


def update_ema(ema: AveragedModel, model: nn.Module) -> None:
    """Move the running average towards the model, whose parameters FSDP may have spread over processes."""
    whole = [
        parameter.full_tensor() if isinstance(parameter, DTensor) else parameter for parameter in model.parameters()
    ]
    ema.update_parameters(SimpleNamespace(parameters=lambda: whole, buffers=model.buffers))


def prepare_sharding(accelerator: Accelerator, arguments: Arguments) -> None:
    """Raise `ValueError` for what FSDP and DeepSpeed cannot do; tell the latter what it asks for."""
    kind = accelerator.distributed_type
    if kind not in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        return
    if arguments.optimizer != "adamw":
        raise ValueError(
            f"--optimizer: expected adamw with {kind.value}, which takes a single optimizer, got {arguments.optimizer}"
        )
    if kind is DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError("fsdp_version: expected 2 in the accelerate config file, got 1")
    if kind is not DistributedType.DEEPSPEED:
        from torch.distributed.fsdp import MixedPrecisionPolicy  # slow to import

        # Weights, positions and values stay float32 and only products are bf16, by autocast, as without sharding:
        # accelerate's own policy would round positions, values and frequencies to 8 bits.
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
        return
    plugin = accelerator.state.deepspeed_plugin
    if plugin.zero_stage == 3:
        raise ValueError(
            "zero_stage: expected at most 2 in the accelerate config file (the running average needs whole weights), "
            "got 3; examples/fsdp.yaml shards weights too"
        )
    # A batch's size changes from step to step, and no prepared loader tells it; it only enters DeepSpeed's own log.
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1


def apply_gradients(accelerator: Accelerator, optimizers: list, finite: bool) -> bool:
    """Step the optimisers, or leave the step out where loss or gradients are not `finite`; whether it was done.

    fp16's scaler and DeepSpeed look at the gradients themselves, the former to find its scale, and are left to it.
    """
    decided_inside = accelerator.scaler is not None or accelerator.distributed_type is DistributedType.DEEPSPEED
    for optimizer in optimizers:
        if finite or decided_inside:
            optimizer.step()
        optimizer.zero_grad()
    return (finite or decided_inside) and not any(optimizer.step_was_skipped for optimizer in optimizers)
