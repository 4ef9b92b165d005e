"""Section: any observed set. Marginals, calibration and joint likelihoods under each named pattern of the kind."""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from baselines.nearest import nearest_values
from evaluation.against_context import NEAREST, unit
from evaluation.batches import batches
from evaluation.calibration import CENTRAL
from evaluation.galleries import Figures, observed, sheet, whole
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.observed import MAX_QUERIES, look_up, observe, seeded, to_grid
from evaluation.scores import UNCERTAIN, Scores
from evaluation.tables import Table, make_table, mean_interval
from pixeltransformer.orders import ORDERS
from signals.base import Observation
from signals.patterns import Pattern, anywhere

MEAN_OF = 2000  # training signals that the mean signal, a baseline, averages
MEAN = "mean signal"
MAX_JOINT = 1024  # hidden positions of a signal that joint likelihoods are measured on
BATCH = 8
PICTURED = 1  # test signals in the picture
DRAWN = 2  # samples of each
PAIRED = "random"  # the order that others are compared with


def mean_signal(job: Job) -> Tensor | None:
    """The mean (cells, V) of training signals on the native grid, of those without missing cells.

    `None` where there are none, and for signals drawn on the fly.
    """
    if job.posterior is not None:
        return None
    grid = job.config.native_grid
    rows = job.signal.load_split(getattr(job.signal, "train_split", "train"), job.config, MEAN_OF)
    total, count = torch.zeros(()), 0
    for _, chunk in batches(rows, 64):
        whole = [row for row in chunk if job.signal.is_native(row, grid)]
        if whole:
            total = total + job.signal.grid_values(job.signal.collate(whole), grid).double().sum(0)
            count += len(whole)
    return (total / count).float() if count else None


def add_batch(job: Job, scores: Scores, seen: Observation, mean: Tensor | None) -> None:
    """Score the marginals of a batch next to nearest neighbour, the mean signal and, where known, the posterior."""
    context = seen.context_positions, seen.context_values.float()
    distribution = job.model.predict(*context, seen.query_positions)
    guesses, exact = {NEAREST: nearest_values(*context, seen.query_positions)}, None
    if mean is not None:
        guesses[MEAN] = look_up(job, mean, seen.query_positions)
    if job.posterior is not None and job.posterior.has_density(context[0].shape[1]):
        exact = job.posterior.predict(context[0], seen.context_values, seen.query_positions).log_prob(seen.query_values)
    scores.add(distribution, seen.query_values.float(), guesses, exact)


@torch.no_grad()
def score_marginals(job: Job, rows: list[Tensor], name: str, pattern: Pattern, mean: Tensor | None) -> Scores:
    """Marginals of hidden positions given a pattern."""
    scores = Scores(CENTRAL)
    for start, chunk in batches(rows, BATCH):
        add_batch(job, scores, observe(job, chunk, start, name, pattern, MAX_QUERIES), mean)
    return scores


@torch.no_grad()
def score_joint(
    job: Job, rows: list[Tensor], name: str, pattern: Pattern, most: int | None = MAX_JOINT
) -> dict[str, Tensor]:
    """Joint negative log-likelihood (N,) per hidden value in nats along each order; the values are the same."""
    found: dict[str, list[Tensor]] = {order: [] for order in ORDERS}
    for start, chunk in batches(rows, BATCH):
        seen = observe(job, chunk, start, name, pattern, most)
        for order in ORDERS:
            log_prob = job.model.log_prob(*seen, order=order, generator=seeded(job, start, order))
            found[order].append(-log_prob.double().cpu() / seen.query_positions.shape[1])
    return {order: torch.cat(parts) for order, parts in found.items()}


@torch.no_grad()
def score_unusual(job: Job, rows: list[Tensor]) -> Table | None:
    """Marginals given values that no typical signal has, and their gap to the exact posterior's."""
    lines = []
    for name, make in job.plan.unusual.items():
        scores = Scores(CENTRAL)
        for start, chunk in batches(rows, 64):
            seen = make(job.signal, job.stored(chunk), job.queries, seeded(job, start, name))
            add_batch(job, scores, seen, None)
        if scores.exact_nats is None:  # so many values leave nothing to know
            continue
        gaps = scores.nats - scores.exact_nats
        exact = mean_interval(scores.exact_nats)
        inside = [[100 * part for part in share] for share in scores.coverage()]
        lines.append([name, mean_interval(scores.nats), exact, mean_interval(gaps), gaps.median().item(), *inside])
    if not lines:
        return None
    columns = {"observed": 0, "NLL (nats)": 3, "exact posterior (nats)": 3, "gap (nats)": 3, "median gap (nats)": 3}
    return make_table(columns | {f"inside {level:.0%} (%)": 1 for level in CENTRAL}, lines, "Unusual values")


def marginal_table(job: Job, scored: dict[str, Scores]) -> Table:
    """A line for each pattern."""
    name, size = unit(job.config)
    lines, others = [], next(iter(scored.values())).methods
    for pattern, scores in scored.items():
        cells = [pattern, mean_interval(scores.nats / size)]
        if job.posterior is not None:
            exact = scores.exact_nats
            cells.append(None if exact is None else mean_interval(scores.nats - exact))
        inside = [[100 * part for part in share] for share in scores.uncertain_coverage()]
        lines.append([*cells, scores.rmse(), *map(scores.rmse, others), *inside])
    columns = {"observed": 0, f"NLL ({name})": 3} | ({} if job.posterior is None else {"gap to exact (nats)": 3})
    columns |= {"RMSE of the mean": 4} | {f"RMSE of {other}": 4 for other in others}
    columns |= {f"inside {level:.0%} (%)": 1 for level in CENTRAL}
    return make_table(columns, lines, "Marginals of what is hidden")


def joint_table(job: Job, scored: dict[str, dict[str, Tensor]]) -> Table:
    """A line for each pattern: every order, and the mean paired difference of each to a random one."""
    name, size = unit(job.config)
    others = [order for order in ORDERS if order != PAIRED]
    lines = []
    for pattern, orders in scored.items():
        cells = [pattern, *[mean_interval(part / size) for part in orders.values()]]
        lines.append([*cells, *[mean_interval((orders[order] - orders[PAIRED]) / size) for order in others]])
    columns = {"observed": 0} | {f"{order} order": 3 for order in ORDERS}
    columns |= {f"{order} − {PAIRED}": 4 for order in others}
    return make_table(columns, lines, f"Joint NLL of what is hidden ({name})")


@torch.no_grad()
def pictures(job: Job, rows: list[Tensor]) -> Figures:
    """For each pattern what is observed, the mean, samples and the truth of test signals."""
    plan, lines = job.plan.samples, []
    for name, pattern in job.signal.patterns.items() if job.output is not None else ():
        for number, row in enumerate(rows[:PICTURED]):
            seen = observe(job, [row], number, name, pattern)
            context = seen.context_positions, seen.context_values.float()
            samples = plan.draw(job.model, context, seen.query_positions, seeded(job, number, name), DRAWN)
            guess = plan.guess(job.model.predict(*context, seen.query_positions))
            fillings = {plan.guessed: guess} | {f"sample {n + 1}": sample for n, sample in enumerate(samples)}
            fillings["truth"] = seen.query_values.float()
            cells = [whole(job, title, to_grid(job, seen, filling)[0]) for title, filling in fillings.items()]
            lines.append((name, [observed(job, context[0][0], context[1][0]), *cells]))
    if not lines:
        return []
    return [(sheet(job, "patterns", lines).name, "What is observed, the mean, two samples and the truth")]


def measure(job: Job, flags: NoFlags) -> Found:
    """A line for each pattern of the signal's class."""
    plan = job.plan
    rows = [row for _, chunk in batches(job.rows(plan.count("patterns")), 64) for row in chunk]
    mean, joint_rows, whole_rows = mean_signal(job), rows[: plan.joint_signals], rows[: plan.whole_signals]
    marginals, joints = {}, {}
    for name, pattern in tqdm(job.signal.patterns.items(), desc="patterns", disable=not job.progress, leave=False):
        marginals[name] = score_marginals(job, rows, name, pattern, mean)
        if joint_rows:
            joints[name] = score_joint(job, joint_rows, name, pattern)
    for context in plan.whole_contexts:
        name, pattern = f"{context} random pixels", Pattern(anywhere, 1).with_count(context, job.cells)
        joints[name] = score_joint(job, whole_rows, name, pattern, most=None)
    tables = [marginal_table(job, marginals)] if marginals else []
    tables += [joint_table(job, joints)] if joints else []
    tables += [table] if (table := score_unusual(job, rows)) else []
    return Found(prose(job, len(rows), len(joint_rows), len(whole_rows)), tables, pictures(job, rows))


def prose(job: Job, count: int, joint: int, complete: int) -> str:
    """What was measured, on how many signals."""
    plural = job.signal.plural
    text = (
        f"{count:,} {plural} of split `{job.split}`; of each, all hidden positions, or {MAX_QUERIES:,} random ones "
        f"where there are more. Coverage counts values whose predicted standard deviation is above {UNCERTAIN}."
    )
    if job.posterior is None:
        text += f" The mean signal is that of {MEAN_OF:,} training {plural} (all where there are fewer)."
    if joint:
        text += (
            f" Joint likelihoods are of {joint} {plural}, up to {MAX_JOINT:,} hidden positions each; differences of "
            "orders are of the same values."
        )
    for context in job.plan.whole_contexts:
        text += f" Given {context} random pixels, {complete} {plural} are scored as a whole."
    if job.plan.unusual:
        text += (
            f" Unusual values: what is observed is no typical signal's, and {job.queries} other values of each signal "
            "are drawn from the exact posterior given that. Steep curves have a coefficient that training leaves out."
        )
    return text


SECTION = Section("patterns", "Any observed set", measure)
