"""Samples next to those of an exact posterior, for kinds of signals that have one."""

import torch

from evaluation.diversity import pairwise_distance
from evaluation.galleries import inference
from evaluation.job import Found, Job
from evaluation.tables import make_table, mean_interval

PLACES = 24  # random positions of each signal that are drawn


@torch.no_grad()
def against_posterior(job: Job) -> Found:
    """Samples next to those of the exact posterior: error, and distance of two."""
    plan, posterior = job.plan.samples, job.posterior
    rows = job.rows(plan.signals)
    cells = []
    for context in plan.contexts:
        positions, values = job.pairs(rows.first(len(rows)), context + PLACES, job.seed)
        known, asked = positions[:, :context], positions[:, context:]
        truth = values[:, context:].float()
        generator = torch.Generator(job.model.device).manual_seed(job.seed)
        ours = job.model.sample(known, values[:, :context].float(), asked, plan.samples, generator=generator)
        exact = posterior.sample(known, values[:, :context], asked, plan.samples, generator)
        found = [mean_interval((drawn - truth).square().mean((0, 2, 3)).sqrt()) for drawn in (ours, exact)]
        found += [mean_interval(pairwise_distance(drawn)) for drawn in (ours, exact)]
        cells.append([context, *found])
    columns = {"K": 0, "error of samples": 3, "error, exact posterior": 3}
    columns |= {"distance of two samples": 3, "distance, exact posterior": 3}
    text = (
        f"{len(rows)} {job.signal.plural} of split `{job.split}`: {plan.samples} joint samples at {PLACES} random "
        "positions, one value per pass, temperature 1, next to as many of the exact posterior. Error and distance are "
        "root mean square differences, to the truth and of two samples of one signal, averaged over signals."
    )
    lines = ["distance of two samples", "distance, exact posterior"]
    plot = {"title": "difference of samples", "ylabel": "distance", "lines": lines}
    table = make_table(columns, cells, "Samples and those of the exact posterior", plot)
    return Found(text, [table], inference(job))
