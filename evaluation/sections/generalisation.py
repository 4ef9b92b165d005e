"""Section: what training has not seen: larger contexts and other resolutions."""

import copy

from evaluation.against_context import Row, Scoring, marginals_against_context, unit
from evaluation.calibration import CENTRAL
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.tables import Table, make_table


def measure(job: Job, flags: NoFlags) -> Found:
    """A table for each way of leaving what training has seen."""
    count = job.plan.count("generalisation")
    tables = [table for table in (more_context(job, count), resolutions(job, count)) if table]
    text = (
        f"{len(job.rows(count)):,} {job.signal.plural} of split `{job.split}`, {job.queries} unobserved positions "
        f"each. Training has seen up to {job.trained_context or 'an unknown number of'} random positions at once."
        + (f" Likelihoods on different grids are of different {job.signal.plural}." if job.plan.resized else "")
    )
    return Found(text, tables)


def more_context(job: Job, count: int) -> Table | None:
    """K up to and beyond the largest of training."""
    most = job.trained_context
    if most is None:
        return None
    sizes = [most // 2, most, most * 3 // 2, most * 2, most * 4]
    if job.cells:
        sizes = [size for size in sizes if size <= job.cells * 0.95]
        if job.cells * 0.95 < most * 1.5:
            sizes.append(int(job.cells * 0.95))
    rows = _score(job, job.rows(count), sorted(set(sizes)))
    return _table(job, rows, f"More context than in training (at most {most:,})", "K")


def resolutions(job: Job, count: int) -> Table | None:
    """Half and twice the native grid; signals that are resized only."""
    if not job.plan.resized:
        return None
    native = job.config.native_grid
    still = len(native) - 2  # a video's frames stay
    rows, labels = [], []
    for factor in (0.5, 1, 2):
        grid = [*native[:still], *[int(side * factor) for side in native[still:]]]
        config = copy.deepcopy(job.config)
        config.native_grid = grid
        signals = job.signal.load_split(job.split, config, min(count, job.limit or count))
        sizes = [size for size in job.sizes(few=True) if size < job.signal.num_cells({"native_grid": grid})]
        found = _score(job, signals, sizes, grid=grid)
        rows += found
        labels += [f"{'×'.join(map(str, grid))}{' (native)' * (factor == 1)}, {row['context']:,}" for row in found]
    return _table(job, rows, "Resolutions that training has not seen", "grid, K", labels)


def _score(job: Job, rows, sizes: list[int], grid: list[int] | None = None) -> list[Row]:
    scoring = Scoring(job.queries, seed=job.seed, progress=job.progress, central=CENTRAL, grid=grid)
    return marginals_against_context(job.model, job.signal, rows, sizes, scoring)


def _table(job: Job, rows, title: str, first: str, labels: list | None = None) -> Table:
    name, size = unit(job.config)
    cells = [
        [
            row["context"] if labels is None else labels[index],
            [row["nats"] / size, row["half_width"] / size],
            row["rmse"],
            row["nearest_rmse"],
            [100 * part for part in row["coverage"][1]],
        ]
        for index, row in enumerate(rows)
    ]
    columns = {first: 0, f"NLL ({name})": 3, "RMSE of the mean": 4, "RMSE of nearest neighbour": 4, "inside 80% (%)": 1}
    return make_table(columns, cells, title)


SECTION = Section("generalisation", "Beyond training", measure)
