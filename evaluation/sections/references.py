"""Section: the model next to nearest neighbour, interpolation, a Gaussian process and, where known, the posterior."""

import math
from itertools import islice

import torch

from baselines.gaussian_process import GaussianProcess
from baselines.interpolation import Interpolation
from baselines.nearest import NearestNeighbour
from evaluation.against_context import unit
from evaluation.batches import batches
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.tables import make_table, mean_interval

SEARCHED = 2000  # training signals, among which those without missing cells are found
FITTED_SIGNALS, FITTED_POSITIONS = 24, 150
MAX_CONTEXT = 512  # a Gaussian process takes the cube of it


def methods(job: Job) -> dict:
    """The baselines, fitted to training signals without missing cells; none where there are no such signals."""
    grid = job.config.native_grid
    rows = job.signal.load_split(getattr(job.signal, "train_split", "train"), job.config, SEARCHED)
    whole = (row for index in range(len(rows)) if job.signal.is_native(row := rows[index], grid))
    if not (found := list(islice(whole, FITTED_SIGNALS))):
        return {}
    stored = job.signal.collate(found)
    cells = torch.randperm(math.prod(grid), generator=torch.Generator().manual_seed(job.seed))[:FITTED_POSITIONS]
    positions, values = job.signal.positions(grid)[cells], job.signal.grid_values(stored, grid)[:, cells]
    made = {"nearest": NearestNeighbour(job.config), "linear": Interpolation(job.config, 1)}
    if job.config.position_dim < 3:
        made["cubic"] = Interpolation(job.config, 3)
    made["Gaussian process"] = GaussianProcess(job.config, job.plan.smoothness)
    fitted = {name: method.fit(positions, values.float()) for name, method in made.items()}
    return fitted | ({"exact posterior": job.posterior} if job.posterior else {})


def measure(job: Job, flags: NoFlags) -> Found:
    """Likelihood and error of all methods at the same positions."""
    rows, (unit_name, size) = job.rows(job.plan.count("references")), unit(job.config)
    compared = {"model": job.model} | methods(job)
    likelihoods, errors = [], []
    for context in [size_ for size_ in job.sizes(few=True) if size_ <= MAX_CONTEXT]:
        queries = min(job.queries, job.cells - context) if job.cells else job.queries
        scores = {name: [] for name in compared}
        squares = {name: [] for name in compared}
        for start, chunk in batches(rows, 16, f"references, K = {context}", job.progress):
            positions, values = job.pairs(chunk, context + queries, job.seed + start)
            asked, truth = positions[:, context:], values[:, context:]
            for name, method in compared.items():
                exact = name == "exact posterior"
                known, target = (values[:, :context], truth) if exact else (values[:, :context].float(), truth.float())
                marginal = method.predict(positions[:, :context], known, asked)
                if not exact or method.has_density(context):
                    scores[name].append(-marginal.log_prob(target).double().mean(1).cpu() / size)
                squares[name].append((marginal.mean - target).double().square().mean((1, 2)).cpu())
        likelihoods.append([context, *[mean_interval(torch.cat(p)) if p else None for p in scores.values()]])
        errors.append([context, *[torch.cat(p).mean().sqrt().item() for p in squares.values()]])
    text = (
        f"{len(rows):,} {job.signal.plural} of split `{job.split}`, {job.queries} unobserved positions each, the same "
        "for all. Nearest neighbour and interpolation (scipy) become distributions by a Gaussian as wide as their "
        "cross-validated error on the context; the Gaussian process (scikit-learn, "
        f"Matérn {job.plan.smoothness * 2:.0f}/2 kernel and noise) has the parameters that make "
        f"{FITTED_SIGNALS} training {job.signal.plural} most likely."
    )
    tables = [
        make_table(
            {"K": 0} | dict.fromkeys(compared, 3),
            likelihoods,
            f"Negative log-likelihood ({unit_name})",
            {"title": "likelihood beside references", "ylabel": f"NLL, {unit_name}", "lines": list(compared)},
        ),
        make_table(
            {"K": 0} | dict.fromkeys(compared, 4),
            errors,
            "RMSE of the mean",
            {"title": "error of the mean", "ylabel": "RMSE", "lines": list(compared)},
        ),
    ]
    return Found(text, tables)


SECTION = Section("references", "References", measure)
