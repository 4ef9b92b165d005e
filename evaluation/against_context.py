"""Likelihood and error of the marginals against the number of observed positions."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from baselines.nearest import nearest_values
from evaluation.batches import batches
from evaluation.scores import Scores
from evaluation.tables import make_table, markdown, mean_interval
from signals.base import Signal, to_device

NEAREST = "nearest neighbour"


class Row(TypedDict):
    """What is found for one K; a dictionary, as reports hold it as JSON.

    `context` is K, `signals` their number, `nats` the negative log-likelihood per value and `half_width` half of its
    95 % confidence interval over signals, `bits_per_dim` the same as `nats` in bits per channel (of a density where
    values are not quantised), `rmse` the error of the mean and `nearest_rmse` that of the nearest observed position.
    `reference_nats` is there with a reference, and `None` where that has no density. `coverage` is there with central
    intervals: for each a share and its half-width; `uncertain_coverage` is the same of the values whose predicted
    standard deviation is above `UNCERTAIN`.
    """

    context: int
    signals: int
    nats: float
    half_width: float
    bits_per_dim: float
    rmse: float
    nearest_rmse: float | None
    reference_nats: NotRequired[float | None]
    coverage: NotRequired[list[list[float]]]
    uncertain_coverage: NotRequired[list[list[float]]]


@dataclass(frozen=True)
class Scoring:
    """How marginals are scored.

    Attributes:
        num_queries (`int`): Unobserved positions scored per signal (all of them where fewer are left).
        tokens_per_batch (`int`): Observed and scored positions in one call of the network.
        seed (`int`): Of all positions.
        reference: What is compared with at the same positions, with a `predict` of its own (the exact posterior).
        central (`Sequence[float]`): Central intervals whose coverage is measured.
        grid (`list[int]` or `None`): The cells of the stored signals; default: the checkpoint's native grid.
    """

    num_queries: int = 128
    tokens_per_batch: int = 16384
    seed: int = 0
    reference: Any = None
    central: Sequence[float] = ()
    grid: list[int] | None = None
    progress: bool = False


@torch.no_grad()
def marginals_against_context(
    model, signal: Signal, rows: Sequence[Tensor], contexts: Iterable[int], scoring: Scoring | None = None
) -> list[Row]:
    """Score random unobserved positions given K random observed positions of each signal.

    Args:
        rows (`Sequence`): Held-out signals as stored.
        contexts (`Iterable[int]`): The numbers K. The positions observed for a smaller K are among those for a larger.

    Returns:
        One row per K.

    Raises:
        ValueError: for a K that leaves no position unobserved.
    """
    scoring, contexts = scoring or Scoring(), list(contexts)
    largest = max(contexts, default=0)
    cells = signal.num_cells({"native_grid": scoring.grid or model.config.native_grid})
    count = cells or largest + scoring.num_queries
    if largest >= count:
        wrong = next(context for context in contexts if context >= count)
        raise ValueError(f"contexts: expected fewer than the {count} cells of a signal, got {wrong}")
    # One batch size for all K, so that all see the same random order of each signal's positions.
    batch_size = max(1, scoring.tokens_per_batch // (largest + min(scoring.num_queries, count)))
    table = []
    for context in contexts:
        scores = Scores(scoring.central)
        for start, chunk in batches(rows, batch_size, f"K = {context}", scoring.progress):
            stored = to_device(signal.collate(chunk), model.device)
            if scoring.reference is not None:
                stored = stored.double()  # where the posterior is narrow, float32 values lie many deviations off
            generator = torch.Generator(model.device).manual_seed(scoring.seed + start)
            positions, values = signal.pairs(stored, count, generator)
            score_batch(signal.predictor(model), scores, positions, values, context, scoring)
        table.append(make_row(context, scores, scoring.reference, model.config.value_dim))
    return table


def score_batch(model, scores: Scores, positions: Tensor, values: Tensor, context: int, scoring: Scoring) -> None:
    """Score the last of the positions (B, N, P) and values (B, N, V) given the first `context` of them.

    Every K is scored at the same last positions, as long as enough are left.
    """
    queries = min(scoring.num_queries, positions.shape[1] - context)
    observed, asked = positions[:, :context], positions[:, -queries:]
    known, truth = values[:, :context].float(), values[:, -queries:].float()
    distribution = model.predict(observed, known, asked)
    guesses = {NEAREST: nearest_values(observed, known, asked)} if context else {}
    exact, reference = None, scoring.reference
    if reference is not None and reference.has_density(context):
        exact = reference.predict(observed, values[:, :context], asked).log_prob(values[:, -queries:])
    scores.add(distribution, truth, guesses, exact)


def make_row(context: int, scores: Scores, reference: Any, channels: int) -> Row:
    """The row of a K from what its batches scored."""
    nats = scores.nats.mean().item()
    row = Row(
        context=context,
        signals=len(scores.nats),
        nats=nats,
        half_width=mean_interval(scores.nats)[1],
        bits_per_dim=nats / (math.log(2) * channels),
        rmse=scores.rmse(),
        nearest_rmse=scores.rmse(NEAREST),
    )
    if scores.central:
        row |= {"coverage": scores.coverage(), "uncertain_coverage": scores.uncertain_coverage()}
    if reference is not None:
        row["reference_nats"] = None if scores.exact_nats is None else scores.exact_nats.mean().item()
    return row


def unit(config) -> tuple[str, float]:
    """Name of the unit of a signal's likelihoods, and how many nats of a value it is."""
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
    nll = "negative log-likelihood (nats)" if name == "nats" else name
    columns = {"observed positions K": 0, nll: 3, "RMSE of the mean": 4, f"RMSE of {NEAREST}": 4}
    exact = "reference_nats" in rows[0]
    columns |= {"exact posterior (nats)": 3, "gap": 3} if exact else {}
    return markdown(make_table(columns, [_cells(row, size, exact) for row in rows]))


def _cells(row: Row, size: float, exact: bool) -> list:
    cells = [row["context"], [row["nats"] / size, row["half_width"] / size], row["rmse"], row["nearest_rmse"]]
    if exact:
        known = row["reference_nats"]
        cells += [known, None if known is None else row["nats"] - known]
    return cells


def quality_table(rows: list[dict]) -> str:
    """Measures of completed signals as a Markdown table."""
    names = [name for name in max(rows, key=len) if name != "context"]
    columns = {"observed positions K": 0} | dict.fromkeys(names, 3)
    return markdown(make_table(columns, [[row["context"], *map(row.get, names)] for row in rows]))
