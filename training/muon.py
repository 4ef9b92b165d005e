"""Muon, with all matrices of one shape orthogonalised together."""

from collections import defaultdict

import torch
from torch import Tensor

from training.precision import multiplies_bf16


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon`, whose numbers it gives, with fewer and larger products.

    A network has dozens of small matrices of two or three shapes; their Newton-Schulz iterations (Jordan et al. 2024)
    one after another take twice the time of one batched product for each shape (`benchmarks.training`). Momentum is
    kept as there, so that states of one can be loaded by the other. Rates are matched to AdamW's
    (`adjust_lr_fn="match_rms_adamw"`, Liu et al. 2025, §2.2).

    Args:
        dtype (`torch.dtype` or `None`): Of the products; `None`: bfloat16, as there, or float32 where the hardware does
            not multiply bfloat16.
    """

    def __init__(self, params, dtype: torch.dtype | None = None, **arguments):
        super().__init__(params, adjust_lr_fn="match_rms_adamw", **arguments)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[min(parameter.shape), max(parameter.shape)].append(parameter)
            for shape, parameters in alike.items():
                self._step_alike(group, parameters, rate=0.2 * max(shape) ** 0.5 * group["lr"])
        return loss

    def _step_alike(self, group: dict, parameters: list[Tensor], rate: float) -> None:
        """One step of matrices of one shape, some of them transposed."""
        grads = [parameter.grad for parameter in parameters]
        momenta = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momenta.append(state["momentum_buffer"])
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        updates = torch._foreach_lerp(grads, momenta, group["momentum"]) if group["nesterov"] else momenta
        tall = [len(parameter) > parameter.shape[1] for parameter in parameters]
        wide = torch.stack([update.T if is_tall else update for update, is_tall in zip(updates, tall, strict=True)])
        dtype = self.dtype or (torch.bfloat16 if multiplies_bf16(wide.device.type) else torch.float32)
        iteration = group["ns_coefficients"], group["ns_steps"], group["eps"]
        wide = orthogonalize(wide.to(dtype), *iteration).to(wide.dtype)
        updates = [update.T if is_tall else update for update, is_tall in zip(wide, tall, strict=True)]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, updates, alpha=-rate)


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
