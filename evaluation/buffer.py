"""Section: what it costs to know values as buffer (one after another, causal) in place of context (a set)."""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from evaluation.against_context import unit
from evaluation.job import Job, Section
from evaluation.tables import make_table, mean_interval

SIGNALS = {"image": 64, "polynomial": 300, "shape": 16, "video": 16}
QUERIES = 64
SHARES = {"all context": 0.0, "half buffer": 0.5, "all buffer": 1.0}


@torch.no_grad()
def buffered_log_prob(model, known: tuple, asked: tuple, buffered: int) -> Tensor:
    """Mean log-likelihood (B,), nats per value, of each query alone, the last `buffered` known places being buffer.

    All queries stand behind the buffer as one block, whose values do not see each other.

    Args:
        known (`tuple[Tensor, Tensor]`): Positions (B, K, P) and values (B, K, V) of the evidence.
        asked (`tuple[Tensor, Tensor]`): Positions (B, Q, P) and values (B, Q, V) of the queries.
    """
    (positions, values), (asked_positions, asked_values) = known, asked
    split = positions.shape[1] - buffered
    blocks = torch.arange(1, buffered + 2, device=positions.device)
    output = model(
        positions[:, :split],
        values[:, :split],
        asked_positions[:, :1],
        buffer_positions=torch.cat((positions[:, split:], asked_positions), 1),
        buffer_values=torch.cat((values[:, split:], asked_values), 1),
        buffer_blocks=torch.cat((blocks[:-1], blocks[-1:].expand(asked_positions.shape[1]))),
    )
    return output.buffer_distribution[:, buffered:].log_prob(asked_values).double().mean(1).cpu()


def section(job: Job) -> Section:
    """The same evidence as context, half and wholly as buffer, for several K."""
    rows, (name, size) = job.rows(SIGNALS.get(job.config.signal, 32)), unit(job.config)
    cells = []
    for context in job.sizes(few=True):
        queries = min(QUERIES, job.cells - context) if job.cells else QUERIES
        batch = max(1, 8192 // (context + queries))
        scores: dict[str, list[Tensor]] = {key: [] for key in SHARES}
        starts = range(0, len(rows), batch)
        for start in tqdm(starts, desc=f"buffer, K = {context}", disable=not job.progress, leave=False):
            chunk = [rows[index] for index in range(start, min(start + batch, len(rows)))]
            places = [x.float() for x in job.places(chunk, context + queries, job.seed + start)]
            known, asked = (tuple(x[:, part] for x in places) for part in (slice(context), slice(context, None)))
            for key, share in SHARES.items():
                scores[key].append(-buffered_log_prob(job.model, known, asked, round(context * share)) / size)
        nll = {key: torch.cat(parts) for key, parts in scores.items()}
        cost = [mean_interval(nll[key] - nll["all context"]) for key in ("half buffer", "all buffer")]
        cells.append([context, *[value.mean().item() for value in nll.values()], *cost])
    columns = {"K": 0} | {f"{key}": 3 for key in SHARES} | {"cost of half": 4, "cost of all": 4}
    text = (
        f"{len(rows):,} {job.signal.plural} of split `{job.split}`, {QUERIES} places each: the negative log-likelihood "
        f"({name}) of a query given the same K values, once as context, once half of them and once all as buffer, in "
        "the same order. The cost is the mean of the differences on the same queries."
    )
    plot = {"title": "cost of the buffer", "ylabel": name, "lines": ["cost of half", "cost of all"], "levels": [0.0]}
    return Section(text, [make_table(columns, cells, "Does the buffer cost anything?", plot)])
