"""Section: any observed set. Marginals, calibration and joint likelihoods given each pattern of the kind of signal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from evaluation.against_context import UNCERTAIN, unit
from evaluation.calibration import CENTRAL, coverage
from evaluation.job import Job, Section
from evaluation.tables import make_table, mean_interval
from pixeltransformer.orders import ORDERS
from signals.base import Observation, to_device
from signals.patterns import Pattern

SIGNALS = {"image": 500, "polynomial": 1000, "shape": 90, "video": 64}
JOINT_SIGNALS = {"image": 16, "shape": 4, "video": 2}
MEAN_OF = 2000  # training signals whose mean signal is compared with
MAX_QUERIES = 4096  # hidden positions of a signal that marginals are asked for, at random where there are more
MAX_JOINT = 1024  # hidden positions of a signal that joint likelihoods are measured on
BATCH = 8


@dataclass
class Scores:
    """Measures of marginals, a number for each signal."""

    nats: list[Tensor] = field(default_factory=list)
    squares: dict[str, list[Tensor]] = field(default_factory=dict)  # of the errors of each method
    covered: list[Tensor] = field(default_factory=list)  # (intervals, signals), over uncertain values

    def add(self, distribution, seen: Observation, others: dict[str, Tensor]) -> None:
        """Add a batch: predictions at the queries, and those of other methods."""
        truth = seen.query_values.float()
        self.nats.append(-distribution.log_prob(truth).double().mean(1).cpu())
        for name, guess in {"model": distribution.mean, **others}.items():
            error = (guess - truth).double().square().mean((1, 2)).cpu()
            self.squares.setdefault(name, []).append(error)
        inside = coverage(distribution, truth, CENTRAL).cpu()
        certain = (distribution.stddev <= UNCERTAIN).cpu()
        self.covered.append(inside.masked_fill(certain, math.nan).nanmean((2, 3)))

    def rmse(self, name: str) -> float:
        """Root of the mean square error of a method over all signals."""
        return torch.cat(self.squares[name]).mean().sqrt().item()

    def coverage(self) -> list[list[float]]:
        """For each of the `CENTRAL` intervals, percent of the values inside, with the interval over signals."""
        return [mean_interval(100 * shares) for shares in torch.cat(self.covered, 1)]


def generator_of(job: Job, start: int, pattern: str) -> torch.Generator:
    """The randomness of a batch, the same for every checkpoint."""
    seed = job.seed + 1000 * start + sum(pattern.encode())
    return torch.Generator(job.model.device).manual_seed(seed)


def observe(job: Job, rows: Sequence[Tensor], start: int, name: str, pattern: Pattern, most: int) -> Observation:
    """A batch of signals under a pattern, asked for at most `most` hidden positions, in their order."""
    generator = generator_of(job, start, name)
    stored = to_device(job.signal.collate(list(rows)), job.model.device)
    seen = job.signal.observe(stored.double() if job.posterior else stored, pattern, job.config.native_grid, generator)
    hidden = seen.query_positions.shape[1]
    if hidden <= most:
        return seen
    kept = torch.randperm(hidden, generator=generator, device=job.model.device)[:most].sort().values
    return seen._replace(query_positions=seen.query_positions[:, kept], query_values=seen.query_values[:, kept])


def mean_signal(job: Job) -> Tensor | None:
    """The mean (cells, V) of training signals on the native grid; `None` for signals drawn on the fly."""
    if job.posterior:
        return None
    rows = job.signal.load_split(job.signal.train_split, job.config, MEAN_OF)
    grid, total = job.config.native_grid, 0.0
    for start in range(0, len(rows), 64):
        chunk = [rows[index] for index in range(start, min(start + 64, len(rows)))]
        total = total + job.signal.grid_values(job.signal.collate(chunk), grid).double().sum(0)
    return (total / len(rows)).float()


def look_up(job: Job, values: Tensor, positions: Tensor) -> Tensor:
    """Values (cells, V) of the native grid at cell centres (B, Q, P), as (B, Q, V)."""
    grid = job.signal.positions(job.config.native_grid).to(positions.device)
    sides = torch.tensor(job.config.native_grid, device=positions.device)
    keys = [((where + 1) / 2 * sides - 0.5).round().long() for where in (grid, positions)]
    strides = torch.tensor([10_000**axis for axis in range(len(sides))], device=positions.device)
    known, asked = ((key * strides).sum(-1) for key in keys)
    order = known.argsort()
    return values.to(positions.device)[order[torch.searchsorted(known[order], asked)]]


@torch.no_grad()
def score_marginals(job: Job, rows: Sequence[Tensor], name: str, pattern: Pattern, mean: Tensor | None) -> Scores:
    """Marginals of hidden positions given a pattern, next to nearest neighbour and the mean signal."""
    scores = Scores()
    for start in range(0, len(rows), BATCH):
        chunk = [rows[index] for index in range(start, min(start + BATCH, len(rows)))]
        seen = observe(job, chunk, start, name, pattern, MAX_QUERIES)
        context = seen.context_positions, seen.context_values.float()
        distribution = job.model.predict(*context, seen.query_positions)
        others = {"nearest neighbour": nearest_values(*context, seen.query_positions)}
        if mean is not None:
            others["mean signal"] = look_up(job, mean, seen.query_positions)
        if job.posterior:
            exact = job.posterior.predict(context[0], seen.context_values, seen.query_positions)
            if job.posterior.has_density(context[0].shape[1]):
                gap = (exact.log_prob(seen.query_values) - distribution.log_prob(seen.query_values.float())).mean(1)
                scores.squares.setdefault("gap", []).append(gap.double().cpu())
        scores.add(distribution, seen, others)
    return scores


@torch.no_grad()
def score_joint(job: Job, rows: Sequence[Tensor], name: str, pattern: Pattern) -> dict[str, Tensor]:
    """Joint negative log-likelihood per hidden value of each signal, in nats, along each order."""
    found: dict[str, list[Tensor]] = {order: [] for order in ORDERS}
    for start in range(0, len(rows), BATCH):
        chunk = [rows[index] for index in range(start, min(start + BATCH, len(rows)))]
        seen = observe(job, chunk, start, name, pattern, MAX_JOINT)
        for order in ORDERS:
            log_prob = job.model.log_prob(*seen, order=order, generator=generator_of(job, start, order))
            found[order].append(-log_prob.double().cpu() / seen.query_positions.shape[1])
    return {order: torch.cat(parts) for order, parts in found.items()}


def section(job: Job) -> Section:
    """A line for each pattern of the signal's class."""
    kind, (unit_name, size) = job.config.signal, unit(job.config)
    rows = job.rows(SIGNALS.get(kind, 64))
    rows = [rows[index] for index in range(len(rows))]
    mean, joint_rows = mean_signal(job), rows[: JOINT_SIGNALS.get(kind, 0)]
    marginals, joints = [], []
    for name, pattern in tqdm(job.signal.patterns.items(), desc="patterns", disable=not job.progress, leave=False):
        scores = score_marginals(job, rows, name, pattern, mean)
        nats = mean_interval(torch.cat(scores.nats) / size)
        references = [scores.rmse(other) for other in scores.squares if other not in ("model", "gap")]
        gap = [mean_interval(torch.cat(scores.squares["gap"]))] if "gap" in scores.squares else []
        marginals.append([name, nats, *gap, scores.rmse("model"), *references, *scores.coverage()])
        if joint_rows:
            orders = score_joint(job, joint_rows, name, pattern)
            joints.append([name, *[mean_interval(part / size) for part in orders.values()]])
    others = [f"RMSE of {other}" for other in scores.squares if other not in ("model", "gap")]
    columns = {"observed": 0, f"NLL ({unit_name})": 3} | ({"gap to exact (nats)": 3} if job.posterior else {})
    columns |= {"RMSE of the mean": 4} | dict.fromkeys(others, 4)
    columns |= {f"inside {level:.0%} (%)": 1 for level in CENTRAL}
    tables = [make_table(columns, marginals, "Marginals of what is hidden")]
    if joints:
        columns = {"observed": 0} | {f"{order} order": 3 for order in ORDERS}
        tables.append(make_table(columns, joints, f"Joint NLL of what is hidden ({unit_name})"))
    plural = job.signal.plural
    text = (
        f"{len(rows):,} {plural} of split `{job.split}`; of each, all hidden positions, or {MAX_QUERIES:,} random ones "
        f"where there are more. Coverage counts values whose predicted standard deviation is above {UNCERTAIN}."
    )
    if mean is not None:
        text += f" The mean signal is that of {MEAN_OF:,} training {plural} (all where there are fewer)."
    if joint_rows:
        text += f" Joint likelihoods are of {len(joint_rows)} {plural}, up to {MAX_JOINT:,} hidden positions each."
    return Section(text, tables)
