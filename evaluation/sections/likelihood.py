"""Section: negative log-likelihood, error and calibration of the marginals against the number of observed positions."""

from evaluation.against_context import Row, Scoring, marginals_against_context, unit
from evaluation.calibration import CENTRAL
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.scores import UNCERTAIN
from evaluation.tables import Table, make_table


def rows_against_context(job: Job) -> tuple[list[Row], int]:
    """The rows of `marginals_against_context` with coverage, and how many signals they are of.

    `--limit` asks for so many signals here, more than the default too: the other sections are capped by it.
    """
    rows = job.many_rows()
    scoring = Scoring(job.queries, seed=job.seed, progress=job.progress, reference=job.posterior, central=CENTRAL)
    return marginals_against_context(job.model, job.signal, rows, job.sizes(), scoring), len(rows)


def measure(job: Job, flags: NoFlags) -> Found:
    """Likelihood, errors and calibration for every K."""
    rows, signals = rows_against_context(job)
    plural = job.signal.plural
    text = (
        f"On {signals:,} {plural} of split `{job.split}`: {job.queries} random positions that were not observed, given "
        f"K random observed ones; intervals (±) are 95 % over {plural}. A value's likelihood is "
        + (
            "the mass of its 8-bit cell, so no noise is added to it. "
            if job.config.quantization_step is not None
            else "a density. "
        )
        + "Calibration: the share of true values inside the central 50, 80 and 95 % of the predicted distribution"
        + (
            ", a quantised value spread evenly over the probability of its cell (the non-randomised PIT of Czado et "
            f"al. 2009); uncertain are those whose predicted deviation is above {UNCERTAIN}."
            if job.config.quantization_step is not None
            else "."
        )
    )
    tables = [likelihood_table(rows, job.config), calibration_table(rows, job.config)]
    return Found(text, tables, numbers={"rows": rows, "signals": signals})


def likelihood_table(rows: list[Row], config) -> Table:
    """K, negative log-likelihood with its interval, errors, and the gap to an exact posterior."""
    name, size = unit(config)
    columns = {"K": 0, f"NLL ({name})": 3, "RMSE of the mean": 4, "RMSE of nearest neighbour": 4}
    exact = "reference_nats" in rows[0]
    if exact:
        columns |= {"exact posterior (nats)": 3, "gap (nats)": 3}
    cells = []
    for row in rows:
        nll = [row["nats"] / size, row["half_width"] / size]
        cells.append([row["context"], nll, row["rmse"], row["nearest_rmse"]])
        if exact:
            known = row["reference_nats"]
            cells[-1] += [known, None if known is None else row["nats"] - known]
    lines = [f"NLL ({name})", "exact posterior (nats)"] if exact else [f"NLL ({name})"]
    plot = {"title": "likelihood of unobserved values", "ylabel": f"NLL, {name}", "lines": lines}
    return make_table(columns, cells, "Likelihood and error", plot)


def calibration_table(rows: list[Row], config) -> Table:
    """K, coverage of the central intervals in percent, and the largest distance from nominal in points.

    Of quantised values also among those that are predicted to be uncertain.
    """
    columns = {"K": 0} | {f"inside {level:.0%} (%)": 1 for level in CENTRAL} | {"largest miss (points)": 1}
    cells = []
    for row in rows:
        shares = [[100 * part for part in share] for share in row["coverage"]]
        miss = max(abs(share[0] - 100 * level) for share, level in zip(shares, CENTRAL, strict=True))
        cells.append([row["context"], *shares, miss])
        if config.quantization_step is not None:
            cells[-1] += [[100 * part for part in row["uncertain_coverage"][1]]]
    if config.quantization_step is not None:
        columns[f"inside {CENTRAL[1]:.0%} of the uncertain (%)"] = 1
    plot = {
        "title": "calibration: values inside central intervals",
        "ylabel": "share of true values, %",
        "lines": list(columns)[1 : 1 + len(CENTRAL)],
        "levels": [100 * level for level in CENTRAL],
    }
    return make_table(columns, cells, "Calibration", plot)


SECTION = Section("likelihood", "Likelihood and calibration", measure)
