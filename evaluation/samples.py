"""Section: whole signals sampled from a few observed values: their fidelity, recognisability and diversity."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from evaluation import classifier, galleries
from evaluation.diversity import SMALLEST, WINDOW, pairwise_distance, pairwise_similarity
from evaluation.job import PUBLISHED, Job, Section
from evaluation.quality import MEASURES
from evaluation.tables import Table, make_table, mean_interval
from signals.base import to_device

TEMPERATURE = 0.9  # the published one


@dataclass
class Plan:
    """Number of signals and samples; `steps` and `drawn` are `num_steps` and `num_autoregressive` of `model.sample`."""

    signals: int
    samples: int
    contexts: list[int]
    steps: int = 64
    drawn: int | None = None


PLANS = {
    "image": Plan(24, 5, PUBLISHED),
    "shape": Plan(4, 2, [32, 128, 512, 2048], drawn=512),
    "video": Plan(4, 2, [16, 64, 256, 1024], drawn=512),
    "polynomial": Plan(200, 5, [0, 1, 2, 4, 6, 8, 12, 20]),
}
CURVE_PLACES = 24


@dataclass
class Drawn:
    """Whole signals completed from K observed cells, on the native grid.

    Attributes:
        known (`Tensor` (N, cells)): True for observed cells.
        truth, mean, nearest (`Tensor` (N, cells, V)): True values, the model's mean and nearest neighbour; observed
            cells hold their true values.
        samples (`Tensor` (S, N, cells, V)): Likewise.
    """

    context: int
    known: Tensor
    truth: Tensor
    mean: Tensor
    nearest: Tensor
    samples: Tensor


@torch.no_grad()
def draw(job: Job, rows: Sequence[Tensor], context: int, plan: Plan) -> Drawn:
    """Complete signals from the first `context` cells of a random order, which is the same for every K."""
    model, grid = job.model, job.config.native_grid
    cells = job.signal.positions(grid).to(model.device)
    parts: list[tuple[Tensor, ...]] = []
    batch = max(1, 8192 // len(cells))
    for start in tqdm(
        range(0, len(rows), batch), desc=f"samples, K = {context}", disable=not job.progress, leave=False
    ):
        chunk = list(rows[start : start + batch])
        truth = job.signal.grid_values(to_device(job.signal.collate(chunk), model.device), grid)  # (B, cells, V)
        generator = torch.Generator(model.device).manual_seed(job.seed + start)
        order = torch.rand(truth.shape[:2], generator=generator, device=model.device).argsort(-1)
        positions, values = cells[order], truth.gather(1, order[..., None].expand_as(truth))
        known, asked = (positions[:, :context], values[:, :context]), positions[:, context:]
        samples = model.sample(
            *known,
            asked,
            num_samples=plan.samples,
            num_steps=plan.steps,
            temperature=TEMPERATURE,
            generator=generator,
            num_autoregressive=None if plan.drawn is None else min(plan.drawn, asked.shape[1]),
        )
        back = order.argsort(-1)[..., None].expand_as(truth)
        fillings = [model.predict(*known, asked).mean, nearest_values(*known, asked), *samples]
        whole = [torch.cat((known[1], filling), 1).gather(1, back) for filling in fillings]
        parts.append(tuple(x.cpu() for x in (order.argsort(-1) < context, truth, *whole)))
    known, truth, mean, nearest, *samples = (torch.cat(part) for part in zip(*parts, strict=True))
    return Drawn(context, known, truth, mean, nearest, torch.stack(samples))


def to_pictures(values: Tensor, grid: list[int]) -> Tensor:
    """Values (…, cells, V) as images (…, V, y, x)."""
    return values.unflatten(-2, grid[::-1]).movedim(-1, -3)


def measures(drawn: Drawn, measure, grid: list[int]) -> dict[str, list[float]]:
    """Measures of the mean, of the samples (averaged over each signal's) and of the nearest neighbour."""
    found = {}
    for name, guess in (("mean", drawn.mean[None]), ("samples", drawn.samples), ("nearest", drawn.nearest[None])):
        scores = [measure(drawn.truth, one, grid) for one in guess]
        for key in scores[0]:
            found[f"{key} of {name}"] = mean_interval(torch.stack([score[key] for score in scores]).nanmean(0))
    return found


def diversity(drawn: Drawn, grid: list[int]) -> dict[str, list[float]]:
    """Distance of two samples over the cells that were not observed and, of images, their MS-SSIM."""
    hidden = ~drawn.known  # every signal has as many
    count = int(hidden[0].sum())
    unseen = drawn.samples[:, hidden].view(len(drawn.samples), len(hidden), count, -1)
    found = {"distance of two samples": mean_interval(pairwise_distance(unseen))}
    if len(grid) == 2 and min(grid) >= SMALLEST:
        found["MS-SSIM of two samples"] = mean_interval(pairwise_similarity(to_pictures(drawn.samples, grid)))
    return found


def recognised(drawn: Drawn, labels: Tensor, model: classifier.Classifier, grid: list[int]) -> dict[str, list[float]]:
    """Share (%) of means and samples that the classifier takes for what the true image shows."""
    found = {}
    for name, guess in (("mean", drawn.mean[None]), ("samples", drawn.samples)):
        classes = model.classes_of(to_pictures(guess, grid).flatten(0, 1)).view(guess.shape[:2])
        found[f"accuracy of {name} (%)"] = mean_interval(100 * (classes == labels).double().mean(0))
    return found


def section(job: Job) -> Section:
    """Samples against K, with their pictures."""
    plan, kind = PLANS.get(job.config.signal), job.config.signal
    if kind == "polynomial":
        return polynomials(job, plan)
    plan = plan or PLANS["image"]
    contexts = [size for size in plan.contexts if size < job.cells]
    if not contexts:
        raise ValueError(f"--sections: samples needs a grid of more than {plan.contexts[0]} cells, got {job.cells}")
    grid, rows = job.config.native_grid, job.rows(plan.signals)
    rows = rows.first(len(rows))
    judge = facts = labels = None
    if job.classifier:
        judge, facts = classifier.load(job.classifier)
        if facts["channels"] != job.config.value_dim:
            raise ValueError(f"--classifier: expected one of {job.config.value_dim} channels, got {facts['channels']}")
        split = job.signal.splits()[job.split].select(range(len(rows)))
        labels = torch.tensor(classifier.read_labels(split))
    everything = [draw(job, rows, context, plan) for context in contexts]
    quality, distances, shares = [], [], []
    for drawn in everything:
        if kind in MEASURES:
            quality.append({"K": drawn.context} | measures(drawn, MEASURES[kind], grid))
        distances.append({"K": drawn.context} | diversity(drawn, grid))
        if judge is not None:
            shares.append({"K": drawn.context} | recognised(drawn, labels, judge, grid))
    plural = job.signal.plural
    how = f"in {plan.steps} steps" if plan.drawn is None else (
        f"of which {plan.drawn} values are drawn in {plan.steps} steps and the rest is their conditional mean"
    )  # fmt: skip
    text = (
        f"{len(rows)} {plural} of split `{job.split}`, completed from K random cells: by the mean and by "
        f"{plan.samples} samples each, temperature {TEMPERATURE}, {how}. Observed values are put in. "
        "The distance of two samples is the root mean square difference over cells that were not observed."
    )
    if "MS-SSIM of two samples" in distances[0]:
        text += (
            f" MS-SSIM has three scales, the first three published weights and a Gaussian window of {WINDOW} pixels, "
            "as images are small."
        )
    tables = []
    if quality:
        tables.append(_rows_table(quality, "Completed signals", "quality of completed signals"))
    tables.append(_rows_table(distances, "Diversity of samples", "difference of samples"))
    flags = []
    if judge is not None:
        tables.append(_rows_table(shares, "Accuracy of a classifier of real images", "recognised by a classifier"))
        real = to_pictures(everything[0].truth, grid)
        own = 100 * (judge.classes_of(real) == labels).double().mean().item()
        text += (
            f" The classifier recognises {facts['accuracy']:.2%} of all {facts['images']:,} real test images (and "
            f"{own:.0f} % of these {len(rows)}); `{facts['command']}` trained it on training images."
        )
        flags = ["--classifier", job.classifier]
    return Section(text, tables, galleries.make(job, everything), flags)


def _rows_table(rows: list[dict], title: str, panel: str) -> Table:
    columns = {key: 1 if "%" in key or "PSNR" in key else 3 for key in rows[0]} | {"K": 0}
    columns = {key: columns[key] for key in rows[0]}
    names = {key.split(" of ")[0] for key in list(rows[0])[1:]}
    plot = {"title": panel, "ylabel": ", ".join(sorted(names)), "lines": list(columns)[1:]}
    return make_table(columns, [list(row.values()) for row in rows], title, plot)


@torch.no_grad()
def polynomials(job: Job, plan: Plan) -> Section:
    """Samples compared with those of the exact posterior: their error, and the distance between two of them."""
    rows, posterior = job.rows(plan.signals), job.posterior
    cells = []
    for context in plan.contexts:
        positions, values = job.places(rows.first(len(rows)), context + CURVE_PLACES, job.seed)
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
        f"{len(rows)} polynomials of split `{job.split}`: {plan.samples} joint samples at {CURVE_PLACES} random "
        "places, one value per step, temperature 1, beside as many of the exact posterior. Error and distance are root "
        "mean square differences, to the truth and of two samples of one polynomial, averaged over polynomials."
    )
    lines = ["distance of two samples", "distance, exact posterior"]
    plot = {"title": "difference of samples", "ylabel": "distance", "lines": lines}
    table = make_table(columns, cells, "Samples and those of the exact posterior", plot)
    return Section(text, [table], galleries.curves(job))
