"""Section: what it costs to know values as buffer (one after another, causal) instead of context (a set)."""

import torch
from torch import Tensor

from evaluation.against_context import unit
from evaluation.batches import batches
from evaluation.job import Found, Job, NoFlags, Section
from evaluation.tables import make_table, mean_interval

QUERIES = 64
IN_USE = "the largest in use"  # beyond which sampling and joint likelihoods make the buffer context
SHARES = {"half": 0.5, "all": 1.0}


@torch.no_grad()
def buffered_log_prob(model, known: tuple, asked: tuple, buffered: int) -> Tensor:
    """Mean log-likelihood (B,), in nats per value, of single queries when the last `buffered` known values are buffer.

    The queries follow the buffer as one block, so they do not see each other.

    Args:
        known (`tuple[Tensor, Tensor]`): Positions (B, K, P) and values (B, K, V) of the context.
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


def measure(job: Job, flags: NoFlags) -> Found:
    """The same K known values as context, and with a part of them as buffer; for several K."""
    largest = job.model.config.max_buffer_share
    shares = {"none": 0.0, IN_USE: largest} | {name: share for name, share in SHARES.items() if share > largest}
    rows, (name, size) = job.rows(job.plan.count("buffer")), unit(job.config)
    cells = []
    for context in job.sizes(few=True):
        queries = min(QUERIES, job.cells - context) if job.cells else QUERIES
        batch = max(1, 8192 // (context + queries))
        scores: dict[str, list[Tensor]] = {key: [] for key in shares}
        for start, chunk in batches(rows, batch, f"buffer, K = {context}", job.progress):
            positions = [x.float() for x in job.pairs(chunk, context + queries, job.seed + start)]
            known, asked = (tuple(x[:, part] for x in positions) for part in (slice(context), slice(context, None)))
            for key, share in shares.items():
                scores[key].append(-buffered_log_prob(job.model, known, asked, int(context * share)) / size)
        nll = {key: torch.cat(parts) for key, parts in scores.items()}
        cost = [mean_interval(nll[key] - nll["none"]) for key in shares if key != "none"]
        cells.append([context, *[value.mean().item() for value in nll.values()], *cost])
    lines = [f"cost of {key}" for key in shares if key != "none"]
    columns = {"K": 0} | {f"{key} as buffer": 3 for key in shares} | dict.fromkeys(lines, 4)
    text = (
        f"{len(rows):,} {job.signal.plural} of split `{job.split}`, {QUERIES} positions each: the negative "
        f"log-likelihood ({name}) of a query given the same K values in the same order, where the last ones are "
        f"buffer. Sampling and joint likelihoods have {largest:.0%} of what is known in the buffer at most, the "
        "largest in use (`config.max_buffer_share`): beyond that it becomes context. The cost is the mean of the "
        "differences on the same queries."
    )
    plot = {"title": "cost of the buffer", "ylabel": name, "lines": lines, "levels": [0.0]}
    return Found(text, [make_table(columns, cells, "Does the buffer cost anything?", plot)])


SECTION = Section("buffer", "The buffer", measure)
