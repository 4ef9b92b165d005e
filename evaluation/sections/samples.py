"""Section: whole signals sampled from a few observed values: their fidelity, recognisability and diversity."""

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation import classifier
from evaluation.classifier import Classifier
from evaluation.completion import TEMPERATURE, Drawn, draw, to_pictures
from evaluation.diversity import WINDOW
from evaluation.galleries import make
from evaluation.job import Found, Job, Section
from evaluation.posterior_samples import against_posterior
from evaluation.sample_measures import diversity, measures, recognised
from evaluation.tables import Table, make_table
from signals.base import flag


@dataclass
class Flags:
    """The flags of this section."""

    classifier: str | None = flag("File of `evaluation.classifier`, to ask whether samples of images are recognised.")


@dataclass
class Judge:
    """A classifier of real images, and what the images that samples complete show.

    Attributes:
        facts (`dict`): What was saved with the classifier.
        labels (`Tensor` (N,)): Classes of the images.
    """

    model: Classifier
    facts: dict
    labels: Tensor

    @classmethod
    def load(cls, path: str, job: Job, count: int) -> "Judge":
        """The classifier of a file and the labels of the first `count` images of the job.

        Raises:
            ValueError: for one of images with other channels.
        """
        model, facts = classifier.load(path)
        if facts["channels"] != job.config.value_dim:
            raise ValueError(f"--classifier: expected one of {job.config.value_dim} channels, got {facts['channels']}")
        split = job.signal.splits()[job.split].select(range(count))
        return cls(model, facts, torch.tensor(classifier.read_labels(split)))

    def prose(self, truth: Tensor, grid: list[int]) -> str:
        """How well the classifier does on real images, among them the true ones (N, cells, V)."""
        own = 100 * (self.model.classes_of(to_pictures(truth, grid)) == self.labels).double().mean().item()
        return (
            f" The classifier recognises {self.facts['accuracy']:.2%} of all {self.facts['images']:,} real test images "
            f"(and {own:.0f} % of these {len(truth)}); `{self.facts['command']}` trained it on training images."
        )


def measure(job: Job, flags: Flags) -> Found:
    """Samples against K, with their pictures."""
    if job.posterior is not None:
        return against_posterior(job)
    plan = job.plan.samples
    contexts = [size for size in plan.contexts if size < job.cells]
    if not contexts:
        raise ValueError(f"--sections: samples needs a grid of more than {plan.contexts[0]} cells, got {job.cells}")
    rows = job.rows(plan.signals)
    rows = rows.first(len(rows))
    judge = Judge.load(flags.classifier, job, len(rows)) if flags.classifier else None
    everything = [draw(job, rows, context, plan) for context in contexts]
    tables = make_tables(job, everything, judge)
    similar = any(title.startswith("MS-SSIM") for table in tables for title, _ in table["columns"])
    text = prose(job, len(rows), similar)
    if judge is not None:
        text += judge.prose(everything[0].truth, job.config.native_grid)
    return Found(text, tables, make(job, everything))


def make_tables(job: Job, everything: list[Drawn], judge: Judge | None) -> list[Table]:
    """Quality where the kind has a measure, diversity, and accuracy where there is a classifier: a row for each K."""
    grid, measure_of = job.config.native_grid, job.plan.measure
    quality, distances, shares = [], [], []
    for drawn in everything:
        if measure_of is not None:
            quality.append({"K": drawn.context} | measures(drawn, measure_of, grid))
        distances.append({"K": drawn.context} | diversity(drawn, grid))
        if judge is not None:
            shares.append({"K": drawn.context} | recognised(drawn, judge.labels, judge.model, grid))
    return [
        _rows_table(rows, title, panel)
        for rows, title, panel in (
            (quality, "Completed signals", "quality of completed signals"),
            (distances, "Diversity of samples", "difference of samples"),
            (shares, "Accuracy of a classifier of real images", "recognised by a classifier"),
        )
        if rows
    ]


def prose(job: Job, count: int, similar: bool) -> str:
    """What was measured on `count` signals; `similar` if the similarity of images is among it."""
    plan, plural = job.plan.samples, job.signal.plural
    text = (
        f"{count} {plural} of split `{job.split}`, completed from K random cells: by the {plan.guessed} and by "
        f"{plan.samples} samples each, temperature {TEMPERATURE}, {plan.how()}. Observed values are put in. "
        "The distance of two samples is the root mean square difference over cells that were not observed."
    )
    if similar:
        text += (
            f" MS-SSIM has three scales, the first three published weights and a Gaussian window of {WINDOW} pixels, "
            "as images are small."
        )
    return text


def _rows_table(rows: list[dict], title: str, panel: str) -> Table:
    columns = {key: 1 if "%" in key or "PSNR" in key else 3 for key in rows[0]} | {"K": 0}
    columns = {key: columns[key] for key in rows[0]}
    names = {key.split(" of ")[0] for key in list(rows[0])[1:]}
    plot = {"title": panel, "ylabel": ", ".join(sorted(names)), "lines": list(columns)[1:]}
    return make_table(columns, [list(row.values()) for row in rows], title, plot)


SECTION = Section("samples", "Samples", measure, Flags)
