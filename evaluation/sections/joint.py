"""Section: joint likelihood of whole signals, by the chain rule, over several orders of the chain."""

import math

import torch
from torch import Tensor

from evaluation.against_context import unit
from evaluation.batches import batches
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.tables import make_table, mean_interval

ORDERS = 4
MAX_POSITIONS = 2048  # of a signal with more cells, so many random ones


@torch.no_grad()
def joint_over_orders(model, positions: Tensor, values: Tensor, orders: int, seed: int) -> Tensor:
    """Joint log-likelihoods (orders, B) in nats of values (B, N, V), every one along its own random order."""
    nothing = positions[:, :0], values[:, :0]
    generator = torch.Generator(model.device).manual_seed(seed)
    chains = [model.log_prob(*nothing, positions, values, "random", generator) for _ in range(orders)]
    return torch.stack(chains).double().cpu()


def ensemble(log_probs: Tensor) -> Tensor:
    """Log-likelihood (B,) of the equal mixture of the models that each order is, from theirs (orders, B)."""
    return log_probs.logsumexp(0) - math.log(len(log_probs))


@torch.no_grad()
def independent(model, positions: Tensor, values: Tensor) -> Tensor:
    """Log-likelihood (B,) where every value is scored alone, given nothing."""
    marginal = model.predict(positions[:, :0], values[:, :0], positions)
    return marginal.log_prob(values).double().sum(1).cpu()


def measure(job: Job, flags: NoFlags) -> Found:
    """Mean over orders, their ensemble, and what both are compared with."""
    rows, (name, size) = job.rows(job.plan.count("joint")), unit(job.config)
    posterior = job.posterior
    count = posterior.degree + 1 if posterior else min(job.cells or job.queries, MAX_POSITIONS)
    found: dict[str, list[Tensor]] = {}
    batch = max(1, 8192 // count)
    for start, chunk in batches(rows, batch, "joint likelihood", job.progress):
        positions, exact = job.pairs(chunk, count, job.seed + start)
        values = exact.float()
        chains = joint_over_orders(job.model, positions, values, ORDERS, job.seed + start)
        scores = {
            "each position alone": independent(job.model, positions, values),
            "one random order": chains[0],
            f"mean of {ORDERS} orders": chains.mean(0),
            f"ensemble of {ORDERS} orders": ensemble(chains),
            "spread over orders": chains.std(0),
        }
        if posterior:
            scores["exact"] = posterior.log_prob(positions[:, :0], exact[:, :0], positions, exact).cpu()
        for key, value in scores.items():
            found.setdefault(key, []).append(value / (count * size))
    per_value = {key: mean_interval(torch.cat(parts)) for key, parts in found.items()}
    cells = {key: [mean if key == "spread over orders" else -mean, half] for key, (mean, half) in per_value.items()}
    plural = job.signal.plural
    whole = f"whole {plural} ({count:,} positions)" if count == job.cells else f"{count:,} random positions of each"
    text = (
        f"{len(rows):,} {plural} of split `{job.split}`, {whole}, nothing being observed: the negative log-likelihood "
        f"of all values together, divided by their number ({name}), by the chain rule. The ensemble is the "
        "equal mixture of the orders, itself a likelihood. Spread: standard deviation over orders of one signal."
    )
    return Found(text, [make_table(dict.fromkeys(cells, 3), [list(cells.values())], "Joint likelihood")])


SECTION = Section("joint", "Joint likelihood", measure)
