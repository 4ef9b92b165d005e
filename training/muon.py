"""Muon, with all matrices of one shape orthogonalised together, and joined ones apart."""

from collections import defaultdict

import torch
from torch import Tensor

from training.precision import multiplies_bf16


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, whose numbers it gives, with fewer and larger products, and for kernels of convolutions too.

    A network has dozens of small matrices of two or three shapes; their Newton-Schulz iterations (Jordan et al. 2024)
    one after another take twice the time of one batched product for each shape (`benchmarks.training`). Momentum is
    kept as there, so that states of one can be loaded by the other. Rates are matched to AdamW's
    (`adjust_lr_fn="match_rms_adamw"`, Liu et al. 2025, §2.2).

    A parameter may hold several matrices, one below the other (queries, keys and values are projected by one): each is
    orthogonalised by itself, as if it were a parameter of its own. A kernel (outputs, inputs, …) counts as the matrix
    (outputs, inputs · …).

    Args:
        params: Matrices or kernels, as to any optimiser.
        parts (`list[int]` or `None`): How many matrices of equal size each of `params` holds; `None`: one each.
        dtype (`torch.dtype` or `None`): Of the products; `None`: bfloat16, as there, or float32 where the hardware does
            not multiply bfloat16.
    """

    def __init__(self, params, parts: list[int] | None = None, dtype: torch.dtype | None = None, **arguments):
        group = torch.optim.Muon([torch.empty(0, 0)], adjust_lr_fn="match_rms_adamw", **arguments).param_groups[0]
        torch.optim.Optimizer.__init__(self, params, {name: group[name] for name in group if name != "params"})
        (group,) = self.param_groups
        self.parts = [1] * len(group["params"]) if parts is None else list(parts)
        for parameter, count in zip(group["params"], self.parts, strict=True):
            if count < 1 or len(parameter) % count:
                raise ValueError(f"parts: expected a divisor of the {len(parameter)} rows of its matrix, got {count}")
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        moved = [pair for pair in zip(group["params"], self.parts, strict=True) if pair[0].grad is not None]
        if not moved:
            return loss
        parameters, counts = zip(*moved, strict=True)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, update, count in zip(parameters, self._momentum_updates(group, parameters), counts, strict=True):
            for matrix, change in zip(parameter.chunk(count), update.chunk(count), strict=True):
                sides = len(matrix), matrix[0].numel()
                alike[min(sides), max(sides)].append((matrix, change.reshape(sides)))
        for shape, pairs in alike.items():
            matrices, changes = zip(*pairs, strict=True)
            found = self._orthogonal(group, changes)
            changes = [change.reshape(matrix.shape) for matrix, change in zip(matrices, found, strict=True)]
            torch._foreach_add_(matrices, changes, alpha=-0.2 * max(shape) ** 0.5 * group["lr"])
        return loss

    def _momentum_updates(self, group: dict, parameters: tuple[Tensor, ...]) -> list[Tensor]:
        """What momentum makes of the gradients."""
        grads, momenta = [parameter.grad for parameter in parameters], []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momenta.append(state["momentum_buffer"])
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        return torch._foreach_lerp(grads, momenta, group["momentum"]) if group["nesterov"] else momenta

    def _orthogonal(self, group: dict, updates: tuple[Tensor, ...]) -> list[Tensor]:
        """The orthogonalised updates, all of one shape, some of them transposed."""
        tall = [len(update) > update.shape[1] for update in updates]
        wide = torch.stack([update.T if is_tall else update for update, is_tall in zip(updates, tall, strict=True)])
        dtype = self.dtype or (torch.bfloat16 if multiplies_bf16(wide.device.type) else torch.float32)
        iteration = group["ns_coefficients"], group["ns_steps"], group["eps"]
        wide = orthogonalize(wide.to(dtype), *iteration).to(wide.dtype)
        return [update.T if is_tall else update for update, is_tall in zip(wide, tall, strict=True)]


def orthogonalize(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices (N, rows, columns >= rows) with singular values near 1, by a quintic Newton-Schulz iteration.

    See `torch.optim.Muon`: the singular values end between about 0.5 and 1.5.
    """
    a, b, c = coefficients
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
