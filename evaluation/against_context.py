"""Likelihood and error of the marginals against the number of observed positions."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from evaluation.calibration import coverage
from evaluation.tables import mean_interval
from signals.base import Signal, to_device

Row = dict[str, float | None | list]

# A black margin is predicted for sure: whoever looks at all pixels alike sees little of what a model does not know.
UNCERTAIN = 0.05  # in units of values, by the predicted standard deviation alone


@torch.no_grad()
def marginals_against_context(
    model,
    signal: Signal,
    rows: Sequence[Tensor],
    contexts: Iterable[int],
    num_queries: int = 128,
    tokens_per_batch: int = 16384,
    seed: int = 0,
    progress: bool = False,
    reference=None,
    central: Sequence[float] = (),
    grid: list[int] | None = None,
    clustered: bool = False,
) -> list[Row]:
    """Score random unobserved positions given K random observed positions of each signal.

    Args:
        rows (`Sequence`): Held-out signals as stored.
        contexts (`Iterable[int]`): The numbers K. The positions observed for a smaller K are among those for a larger.
        num_queries (`int`): Unobserved positions scored per signal; all of them if fewer are left.
        reference: A method with a `predict` of its own to compare with at the same positions (the exact posterior).
        central (`Sequence[float]`): Central intervals to measure the coverage of.
        grid (`list[int]` or `None`): Grid of the stored signals; `None`: the checkpoint's native grid.
        clustered (`bool`): Observe the K positions nearest to a random one, instead of random ones.

    Returns:
        One row per K: `context` (K), `signals` (their number), `nats` (negative log-likelihood per value), `half_width`
        (of its 95 % confidence interval over signals), `bits_per_dim` (per channel; from densities if values are not
        quantised), `rmse` (of the mean) and `nearest_rmse` (of the nearest neighbour). With a `reference` that has a
        density also `reference_nats`. With `central` also `coverage` (for each interval, a share and the half-width of
        its confidence interval) and `uncertain_coverage` (the same for channels whose predicted standard deviation is
        above `UNCERTAIN`).

    Raises:
        ValueError: if some K leaves no position unobserved.
    """
    device = model.device
    contexts, table = list(contexts), []
    fields = {"native_grid": grid or model.config.native_grid}
    cells = signal.num_cells(fields)
    places = cells or max(contexts, default=0) + num_queries
    # One batch size for all K, so that all see the same random order of each signal's positions.
    batch_size = max(1, tokens_per_batch // (max(contexts, default=0) + min(num_queries, places)))
    for context in contexts:
        if context >= places:
            raise ValueError(f"contexts: expected fewer than the {places} cells of a signal, got {context}")
        queries = min(num_queries, places - context)
        nats, reference_nats, covered, unsure, error, nearest_error, count = [], [], [], [], 0.0, 0.0, 0
        starts = range(0, len(rows), batch_size)
        for start in tqdm(starts, desc=f"K = {context}", disable=not progress, leave=False):
            chunk = [rows[index] for index in range(start, min(start + batch_size, len(rows)))]
            generator = torch.Generator(device).manual_seed(seed + start)
            stored = to_device(signal.collate(chunk), device)
            if reference is not None:
                stored = stored.double()  # where the posterior is narrow, float32 values lie many deviations off
            positions, exact_values = signal.places(stored, places, generator)
            if clustered:
                positions, exact_values = cluster_first(positions, exact_values, context)
            known = exact_values.float()
            observed, observed_values = positions[:, :context], known[:, :context]
            # Score the last positions of the order: the same ones for all K, as long as enough are left.
            asked, truth = positions[:, -queries:], known[:, -queries:]
            distribution = model.predict(observed, observed_values, asked)
            nats.append(-distribution.log_prob(truth).double().mean(1).cpu())
            error += (distribution.mean - truth).double().square().sum().item()
            count += truth.numel()
            if central:
                inside = coverage(distribution, truth, central).cpu()  # (intervals, B, Q, V)
                certain = (distribution.stddev <= UNCERTAIN).cpu()
                covered.append(inside.mean((2, 3)))
                unsure.append(inside.masked_fill(certain, math.nan).nanmean((2, 3)))
            if context:
                nearest = nearest_values(observed, observed_values, asked)
                nearest_error += (nearest - truth).double().square().sum().item()
            if reference is not None and reference.has_density(context):
                exact = reference.predict(observed, exact_values[:, :context], asked)
                reference_nats.append(-exact.log_prob(exact_values[:, -queries:]).mean(1).cpu())
        per_signal = torch.cat(nats)
        table.append(
            {
                "context": context,
                "signals": len(per_signal),
                "nats": per_signal.mean().item(),
                "half_width": mean_interval(per_signal)[1],
                "bits_per_dim": per_signal.mean().item() / (math.log(2) * truth.shape[-1]),
                "rmse": math.sqrt(error / count),
                "nearest_rmse": math.sqrt(nearest_error / count) if context else None,
            }
        )
        if central:
            table[-1]["coverage"] = [mean_interval(shares) for shares in torch.cat(covered, 1)]
            table[-1]["uncertain_coverage"] = [mean_interval(shares) for shares in torch.cat(unsure, 1)]
        if reference is not None:
            table[-1]["reference_nats"] = torch.cat(reference_nats).mean().item() if reference_nats else None
    return table


def cluster_first(positions: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions and values, first the `count` nearest to the first position, then the others in their order."""
    rank = (positions - positions[:, :1]).norm(dim=-1).argsort(-1).argsort(-1)  # (B, N)
    order = (rank >= count).int().argsort(dim=-1, stable=True)[..., None]
    return tuple(x.gather(1, order.expand_as(x)) for x in (positions, values))


def unit(config) -> tuple[str, float]:
    """Unit in which likelihoods are reported: its name, and its size in nats per value."""
    if config.quantization_step is None:
        return "nats", 1.0
    return "bits per dimension", math.log(2) * config.value_dim


def one_line(rows: list[Row], config) -> str:
    """The negative log-likelihoods of `marginals_against_context` in one line."""
    name, size = unit(config)
    return " ".join(f"K{row['context']} {row['nats'] / size:.3f}" for row in rows) + f" {name}"


def markdown_table(rows: list[Row], config) -> str:
    """The rows of `marginals_against_context` as a Markdown table."""
    name, size = unit(config)
    columns = {
        "observed places K": lambda row: str(row["context"]),
        ("negative log-likelihood (nats)" if name == "nats" else name): lambda row: (
            f"{row['nats'] / size:.3f} ± {row['half_width'] / size:.3f}"
        ),
        "RMSE of the mean": lambda row: f"{row['rmse']:.4f}",
        "RMSE of nearest neighbour": lambda row: _number(row["nearest_rmse"]),
    }
    if "reference_nats" in rows[0]:
        columns["exact posterior (nats)"] = lambda row: _number(row["reference_nats"], 3)
        columns["gap"] = lambda row: (
            "–" if row["reference_nats"] is None else f"{row['nats'] - row['reference_nats']:.3f}"
        )
    lines = ["| " + " | ".join(columns) + " |", "|" + "---:|" * len(columns)]
    lines += ["| " + " | ".join(column(row) for column in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def quality_table(rows: list[dict]) -> str:
    """Measures of completed signals as a Markdown table."""
    columns = [name for name in max(rows, key=len) if name != "context"]
    lines = ["| observed places K | " + " | ".join(columns) + " |", "|" + "---:|" * (len(columns) + 1)]
    for row in rows:
        cells = [f"{row[name]:.3f}" if name in row else "–" for name in columns]
        lines.append(f"| {row['context']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
